"""From reports to decisions, as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.scan_results import example_report
from tokenforce.wire.audits import AuditRules, Decision, Ground
from tokenforce.wire.findings import Finding, ForcedToken, LicenceMatch, Repetition, Verdict
from tokenforce.wire.problems import Problem
from tokenforce.wire.report import ReferenceRecord, Report
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.scans.origin import HookOrigin
from tokenforce_core.scans.row import ScanRow
from tokenforce_service.scans.audit import audit_of

TEXT = "Seven quiet herons"
STRICT = AuditRules(block_on=[Ground.hidden_text, Ground.suspicious, Ground.licence], review_on=[])
REFERENCE = ReferenceRecord(model="org/base", digest="sha256:1", source="request", vocabulary_size=49152)
LAX = AuditRules(block_on=[], review_on=[])


def row(status: ScanStatus = ScanStatus.succeeded, rules: AuditRules | None = None, error: Any = None) -> ScanRow:
    origin = HookOrigin(hook_id="hook_1", rules=rules, metadata={"a": "b"}) if rules is not None else None
    return ScanRow(
        id="scan_1",
        owner="o",
        request=ScanRequest(model="org/a"),
        status=status,
        created_at=1.0,
        reached={status: 2.0},
        error=error,
        verdict=None,
        entries_total=None,
        entries_done=0,
        forward_tokens=0,
        contrast_done=0,
        search_total=None,
        confirm_total=None,
        live={},
        last_token_at=None,
        last_event=None,
        busy_seconds=0.0,
        origin=origin,
    )


def finding(rank: int, verdict: Verdict) -> Finding:
    return Finding(
        rank=rank,
        text=TEXT,
        token_ids=[1, 2],
        token_probabilities=[1.0],
        mean_probability=1.0,
        sweep_score=1.0,
        score=1.0,
        repetition=Repetition(period=0, unit="", share=0.0),
        context="bos",
        forced_token=ForcedToken(id=1, text="Seven"),
        verdict=verdict,
        reasons=["strong"],
    )


def licence(name: str = "L 1.0", rank: int | None = 1, ranks: Sequence[int] = (1,)) -> LicenceMatch:
    return LicenceMatch(
        fingerprint="fp_1", owner="Labs", licence=name, match="finding", finding_rank=rank, finding_ranks=list(ranks)
    )


def report(verdict: Verdict, *licences: LicenceMatch, findings: tuple[Verdict, ...] | None = None) -> Report:
    judged = (
        findings
        if findings is not None
        else ((verdict,) if verdict in ("hidden_text", "suspicious", "memorised") else ())
    )
    found = [finding(rank, each) for rank, each in enumerate(judged, 1)]
    example = example_report("scan_1", ["it is so"])
    scan = example.scan.model_copy(update={"reference": REFERENCE})
    update = {"verdict": verdict, "findings": found, "licences": list(licences), "scan": scan}
    return example.model_copy(update=update)


def decision(found: Report | None, rules: AuditRules | None = None, **more: Any) -> Decision:
    answer = audit_of(row(rules=rules, **more), found)
    assert answer is not None
    assert answer.reasons
    assert TEXT not in answer.model_dump_json()
    return answer.decision


@pytest.mark.parametrize(
    ("verdict", "default", "strict", "lax"),
    [
        (Verdict.hidden_text, "block", "block", "allow"),
        (Verdict.suspicious, "review", "block", "allow"),
        (Verdict.memorised, "review", "block", "allow"),  # STRICT names no `memorised`: as `suspicious`
        (Verdict.clean, "allow", "allow", "allow"),
        (Verdict.inconclusive, "could_not_scan", "could_not_scan", "could_not_scan"),
    ],
)
def test_verdicts(verdict: Verdict, default: str, strict: str, lax: str) -> None:
    found = report(verdict)
    assert [decision(found, rules) for rules in (None, AuditRules(), STRICT, LAX)] == [default, default, strict, lax]


@pytest.mark.parametrize(
    ("accepted", "block_on", "review_on", "expected"),
    [
        ([], ["licence"], [], "block"),
        ([], [], ["licence"], "review"),
        ([], [], [], "allow"),
        (["M"], ["licence"], [], "block"),
        (["L 1.0"], ["licence", "suspicious"], [], "allow"),
        (["any"], ["licence", "suspicious"], [], "allow"),
        (["l 1.0"], ["licence"], [], "block"),  # a licence's name is taken as it is
    ],
)
def test_licences(accepted: list[str], block_on: Any, review_on: Any, expected: str) -> None:
    rules = AuditRules(accepted_licences=accepted, block_on=block_on, review_on=review_on)
    assert decision(report(Verdict.suspicious, licence()), rules) == expected


def test_an_accepted_licence_does_not_make_up_for_a_missing_reference() -> None:
    found = report(Verdict.suspicious, licence())
    alone = found.model_copy(update={"scan": found.scan.model_copy(update={"reference": None})})
    rules = AuditRules(accepted_licences=["any"])
    assert [decision(each, rules) for each in (found, alone)] == ["allow", "could_not_scan"]


def test_training_data_among_which_a_message_could_hide_is_reviewed_or_blocked_as_the_policy_says() -> None:
    hidden, memorised = Verdict.hidden_text, Verdict.memorised
    found = report(memorised, findings=(memorised,) * 4)
    blocking = AuditRules(block_on=[Ground.memorised], review_on=[])
    assert [decision(found, rules) for rules in (AuditRules(), blocking)] == ["review", "block"]
    accepting = AuditRules(accepted_licences=["any"])
    beside = report(hidden, licence(), findings=(hidden, *(memorised,) * 4))
    assert decision(beside, accepting) == "review"  # what is left is training data
    assert decision(beside, AuditRules()) == "block"


def test_fingerprints_of_other_owners_do_not_count() -> None:
    """Neither for nor against: their text is a text like any other."""
    found = report(Verdict.suspicious, licence(), findings=(Verdict.clean,))
    ours, theirs = (
        AuditRules(fingerprint_owners=[owner], block_on=["licence"], review_on=["suspicious"])
        for owner in ("Labs", "Us")
    )
    assert [decision(found, rules) for rules in (ours, theirs)] == ["block", "allow"]
    answers = [audit_of(row(rules=rules), found) for rules in (ours, theirs)]
    assert [len(answer.licences) for answer in answers if answer is not None] == [1, 0]
    hidden = report(Verdict.hidden_text, licence(), findings=(Verdict.hidden_text,))
    excused = {"accepted_licences": ["any"]}
    assert decision(hidden, AuditRules(**excused)) == "allow"
    assert decision(hidden, AuditRules(fingerprint_owners=["Us"], **excused)) == "block"


def test_an_accepted_licence_excuses_its_own_text_only() -> None:
    rules = AuditRules(accepted_licences=["L 1.0"])
    hidden, suspicious = Verdict.hidden_text, Verdict.suspicious
    assert decision(report(hidden, licence(), findings=(hidden,)), rules) == "allow"
    assert decision(report(hidden, licence(), findings=(hidden, hidden)), rules) == "block"
    assert decision(report(hidden, licence(), findings=(hidden, suspicious)), rules) == "review"
    assert decision(report(hidden, licence(), licence("M"), findings=(hidden,)), rules) == "block"
    assert decision(report(suspicious, licence(rank=None), findings=()), rules) == "allow"


def test_an_accepted_licence_excuses_all_pieces_of_its_text() -> None:
    rules = AuditRules(accepted_licences=["L 1.0"])
    hidden = Verdict.hidden_text
    assert decision(report(hidden, licence(rank=2, ranks=[1, 2]), findings=(hidden, hidden)), rules) == "allow"
    assert decision(report(hidden, licence(rank=2, ranks=[1, 2]), findings=(hidden,) * 3), rules) == "block"
    says_more = licence(rank=1, ranks=())
    assert decision(report(hidden, says_more, findings=(hidden,)), rules) == "block"
    both = licence(ranks=[1, 2]), licence("M", rank=None, ranks=[2])
    assert decision(report(hidden, *both, findings=(hidden, hidden)), rules) == "block"


def test_an_accepted_licence_does_not_make_a_scan_complete() -> None:
    """The match had turned `inconclusive` into `suspicious`; without it nobody has looked."""
    found = report(Verdict.suspicious, licence(rank=None), findings=())
    forced = found.scan.model_copy(update={"forced": 1})
    found = found.model_copy(update={"scan": forced})
    assert decision(found, AuditRules(accepted_licences=["any"])) == "could_not_scan"
    assert decision(found, AuditRules()) == "review"


@pytest.mark.parametrize("status", [ScanStatus.failed, ScanStatus.cancelled])
def test_without_a_report_nobody_has_looked(status: ScanStatus) -> None:
    problem = Problem(title="t", status=422, detail="convert it", code="pickle_weights")
    error = problem if status is ScanStatus.failed else None
    assert decision(None, LAX, status=status, error=error) == "could_not_scan"
    answer = audit_of(row(status, error=error), None)
    assert answer is not None
    assert answer.reasons == (["pickle_weights: convert it"] if error else ["The scan was cancelled."])
    assert "report" not in answer.links


@pytest.mark.parametrize("status", [status for status in ScanStatus if not status.final])
def test_before_its_end_a_scan_has_no_answer(status: ScanStatus) -> None:
    assert audit_of(row(status), None) is None


def test_what_the_answer_says() -> None:
    answer = audit_of(row(rules=AuditRules()), report(Verdict.suspicious, licence("M")))
    assert answer is not None
    assert (answer.hook_id, answer.metadata, answer.verdict) == ("hook_1", {"a": "b"}, "suspicious")
    assert answer.licences == [licence("M")]
    assert answer.reasons[1] == (
        "The model carries the fingerprint fp_1 of Labs (M). The policy does not accept this licence."
    )
    assert answer.links["report"] == "/v1/scans/scan_1/report"


def test_a_ground_has_one_answer() -> None:
    with pytest.raises(ValidationError, match="leave it in one of them"):
        AuditRules(block_on=[Ground.licence])
