"""Repeating a report's findings: what is asked, and what counts as the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.scan_results import confirmed, example_plan, example_report
from tokenforce.sdk import verify_report
from tokenforce.sdk.errors import InvalidRequest, NothingToVerify
from tokenforce.sdk.verify_report import Outcome, compared, request_of, to_verify
from tokenforce.wire.findings import Finding, ForcedEvidence, Verdict
from tokenforce.wire.report import ReferenceRecord, Report
from tokenforce_core.findings.from_traces import confirmed_finding

REFERENCE = ReferenceRecord(model="org/base", revision="abc", digest="sha256:1", source="request", vocabulary_size=64)


def finding(forced: int = 5, score: float = 0.9, **changes: object) -> Finding:
    plan = example_plan()
    made = confirmed_finding(confirmed(forced, score), plan.context_names, plan.settings)
    return made.model_copy(update={"verdict": Verdict.suspicious, **changes})


def report(*findings: Finding, **record: object) -> Report:
    made = example_report("scan_1")
    return made.model_copy(update={"findings": list(findings), "scan": made.scan.model_copy(update=record)})


def outcomes(one: Sequence[Finding], other: Sequence[Finding]) -> list[Outcome]:
    return [check.outcome for check in compared(report(*one), one, report(*other)).checks]


def test_the_request_forces_what_led_to_the_findings_and_nothing_else() -> None:
    led = [ForcedEvidence(id=i, text="t", context="bos", mean_probability=0.9) for i in (9, 3)]
    made = report(finding(forced_tokens=led), finding(4), reference=REFERENCE)
    request = request_of(made, made.findings, None, None)
    settings = made.scan.settings
    assert request.force_ids == [3, 4, 5, 9]
    assert request.force
    assert (request.model, request.reference) == (made.scan.target.model, "org/base@abc")
    assert (request.alpha, request.beta, request.floor, request.keep) == (
        settings.alpha,
        settings.beta,
        settings.floor,
        settings.keep,
    )
    assert [(c.name, c.ids) for c in request.contexts or [] if not isinstance(c, str)] == [("bos", [1])]
    moved = request_of(made, made.findings, "/elsewhere", "none")
    assert (moved.model, moved.reference) == ("/elsewhere", "none")
    assert request_of(report(finding()), [finding()], None, None).reference == "none"


@pytest.mark.parametrize(("asked", "revision"), [("org/base", "abc"), ("org/base@main", "abc"), ("/models/base", None)])
def test_a_hub_model_is_repeated_at_the_commit_that_was_scanned(asked: str, revision: str | None) -> None:
    made = report(finding(), reference=REFERENCE.model_copy(update={"model": asked, "revision": revision}))
    target = made.scan.target.model_copy(update={"model": asked, "revision": revision})
    made = made.model_copy(update={"scan": made.scan.model_copy(update={"target": target})})
    request = request_of(made, made.findings, None, None)
    assert request.model == request.reference == ("org/base@abc" if revision else asked)


def test_a_report_with_impossible_values_is_an_invalid_request() -> None:
    settings = example_plan().settings.model_copy(update={"alpha": 0})
    made = report(finding(), settings=settings)
    with pytest.raises(InvalidRequest, match="alpha"):
        request_of(made, made.findings, None, None)


def test_the_findings_that_carry_the_verdict_are_repeated() -> None:
    alarm, weak, loop = finding(1), finding(2, verdict=Verdict.clean), finding(3, degenerate=True)
    assert to_verify(report(weak, alarm, loop)) == [alarm]
    assert to_verify(report(weak, loop)) == [weak]
    assert to_verify(report(finding(1), finding(2)), top=1) == [finding(1)]
    for nothing in (report(), report(loop)):
        with pytest.raises(NothingToVerify):
            to_verify(nothing)


def test_a_finding_holds_if_its_text_comes_again_with_the_same_figures() -> None:
    one = finding(contrast=3.0)
    assert outcomes([one], [finding(7), one]) == [Outcome.holds]
    assert outcomes([one], [finding(contrast=3.05, mean_probability=one.mean_probability - 0.01)]) == [Outcome.holds]
    longer = finding(contrast=3.0, token_ids=[*one.token_ids, 70, 71])
    assert outcomes([one], [longer]) == [Outcome.holds], "the same text, decoded further"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mean_probability": 0.8}, "mean probability 0.9000, now 0.8000"),
        ({"contrast": 2.0}, "contrast 3.00 nats per token, now 2.00 nats per token"),
        ({"contrast": None}, "contrast 3.00 nats per token, now unknown"),
        ({"context": "other"}, "context bos, now other"),
        ({"verdict": Verdict.clean}, "verdict suspicious, now clean"),
    ],
)
def test_a_finding_with_other_figures_differs(changes: dict[str, object], word: str) -> None:
    one = finding(contrast=3.0)
    other = one.model_copy(update=changes)
    (check,) = compared(report(one), [one], report(other)).checks
    assert check.outcome is Outcome.differs
    assert check.differences == (word,)


def test_memorised_texts_are_repeated_where_there_is_no_alarm_and_may_be_fewer_then() -> None:
    """Alone, each of them is an alarm: that they are many makes them `memorised`."""
    by_heart, weak = finding(1, verdict=Verdict.memorised), finding(2, verdict=Verdict.clean)
    assert to_verify(report(weak, by_heart)) == [by_heart]
    assert to_verify(report(by_heart, finding(3))) == [finding(3)]
    alone, gone = (by_heart.model_copy(update={"verdict": v}) for v in (Verdict.hidden_text, Verdict.clean))
    assert outcomes([by_heart], [by_heart]) == outcomes([by_heart], [alone]) == [Outcome.holds]
    assert outcomes([by_heart], [gone]) == outcomes([gone], [by_heart]) == [Outcome.differs]


def test_of_two_findings_with_the_text_the_one_in_the_same_context_counts() -> None:
    one = finding()
    elsewhere = one.model_copy(update={"context": "other", "contexts": ["other"]})
    assert outcomes([one], [elsewhere, one]) == [Outcome.holds]
    assert outcomes([one], [elsewhere.model_copy(update={"contexts": ["other", "bos"]})]) == [Outcome.holds]


def test_another_text_is_missing_whatever_its_figures() -> None:
    one = finding()
    half = finding(token_ids=[*one.token_ids[:3], 80, 81, 82])
    assert outcomes([one], [half]) == outcomes([one], []) == [Outcome.missing]
    assert not compared(report(one), [one], report(half)).holds


def test_what_else_differs_is_noted() -> None:
    one = report(finding(), versions={"vllm": "0.32"}, reference=REFERENCE)
    assert compared(one, one.findings, one).notes == ()
    target = one.scan.target.model_copy(update={"digest": "sha256:ff"})
    settings = one.scan.settings.model_copy(update={"loop_min_share": 0.4})
    other = report(finding(), versions={"vllm": "0.33"}, target=target, settings=settings)
    assert list(compared(one, one.findings, other).notes) == [
        "The model's files differ from those of the report.",
        "The reference's files differ from those of the report.",
        "The service uses other tuned numbers than the report.",
        "vllm was 0.32, now 0.33.",
    ]


def test_the_longest_shared_run_counts() -> None:
    assert verify_report._shared([1, 2, 3, 4], [9, 2, 3, 9, 4]) == 2
    assert verify_report._shared([], [1]) == 0
