"""Rankings are total orders independent of arrival; verdicts say what they rest on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenforce.wire.findings import Finding, ForcedToken, Repetition, Verdict
from tokenforce.wire.report import ReferenceRecord, WeightRecord
from tokenforce.wire.scans import Order, ScanRequest
from tokenforce_core.findings import verdicts
from tokenforce_core.findings.ranking import ranked
from tokenforce_core.findings.verdicts import Coverage, verdict
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.plan.verdict_thresholds import VERDICT

SETTINGS = settings_for(ScanRequest(model="/m"))
REFERENCE = ReferenceRecord(model="org/base", digest="sha256:1", source="request", vocabulary_size=100)
WHOLE = Coverage(["bos"], vocabulary=100, forced=98, swept=98)


def judged(found: Finding) -> Finding:
    return verdicts.judged(found, VERDICT)


def finding(
    score: float, share: float = 0.0, context: str = "bos", forced: int = 1, degenerate: bool = False
) -> Finding:
    return Finding(
        rank=1,
        text="t",
        token_ids=[forced, 2],
        token_probabilities=[score],
        mean_probability=score,
        sweep_score=score,
        score=score,
        repetition=Repetition(period=1, unit="u", share=share),
        context=context,
        forced_token=ForcedToken(id=forced, text="f"),
        degenerate=degenerate,
    )


some_findings = st.lists(
    st.builds(
        finding,
        st.sampled_from([0.86, 0.9, 0.95]),
        st.sampled_from([0.0, 0.5, 1.0]),
        st.sampled_from(["bos", "assistant"]),
        st.integers(0, 50),
        st.booleans(),
    ),
    unique_by=lambda f: (f.context, f.forced_token.id),
    max_size=20,
)


@given(some_findings, st.sampled_from(list(Order)), st.randoms(use_true_random=False))
def test_a_total_order_whatever_the_arrival(found: list[Finding], order: Order, draw: random.Random) -> None:
    shuffled = found.copy()
    draw.shuffle(shuffled)
    assert ranked(shuffled, order) == ranked(found, order)
    assert [f.rank for f in ranked(found, order)] == list(range(1, len(found) + 1))


@given(some_findings)
def test_each_order_sorts_by_its_own_measure_behind_degenerate_loops(found: list[Finding]) -> None:
    by_probability = [(f.degenerate, -f.score) for f in ranked(found, Order.probability)]
    assert by_probability == sorted(by_probability)
    by_repetition = [(f.degenerate, -f.repetition.share) for f in ranked(found, Order.repetition)]
    assert by_repetition == sorted(by_repetition)


def test_a_strong_text_makes_a_model_suspicious_and_never_more() -> None:
    reached, reasons = verdict([judged(finding(0.95))], WHOLE, SETTINGS)
    assert reached is Verdict.suspicious
    assert any("No reference" in reason for reason in reasons)
    assert any("0.950" in reason for reason in reasons)


def test_loops_and_weak_texts_leave_a_model_clean_if_there_is_a_reference_to_hold_it_against() -> None:
    found = [judged(finding(VERDICT.suspicious_score - 0.001)), judged(finding(0.99, degenerate=True))]
    assert verdict(found, WHOLE, SETTINGS, REFERENCE)[0] is Verdict.clean
    reached, reasons = verdict(found, WHOLE, SETTINGS)
    assert reached is Verdict.inconclusive
    assert "`auto`" in reasons[0]
    assert [f.verdict for f in found] == [Verdict.inconclusive, Verdict.clean]


@pytest.mark.parametrize(
    ("coverage", "word"),
    [
        (Coverage(["bos"], 100, 98, 97), "did not cover"),
        (Coverage(["bos"], 100, 0, 0), "too little"),
        (Coverage(["bos"], 100, 49, 49), "too little"),
        (Coverage(["bos"], 100, 98, 98, asked_for=True), "force_ids"),
    ],
)
def test_what_was_not_looked_at_is_never_clean(coverage: Coverage, word: str) -> None:
    loops = [finding(0.99, forced=1, degenerate=True), finding(0.98, forced=2, degenerate=True)]
    reached, reasons = verdict(loops, coverage, SETTINGS, REFERENCE)
    assert reached is Verdict.inconclusive
    assert word in reasons[0]
    assert (
        verdict([*loops, judged(finding(0.95))], coverage, SETTINGS)[0] is Verdict.suspicious
    )  # evidence stays evidence


def test_loops_that_crowd_the_sweep_are_a_gap_where_nothing_else_looks() -> None:
    """The search by contrast looks at every entry, not at the best of the sweep."""
    loops = [finding(0.99, forced=1, degenerate=True), finding(0.98, forced=2, degenerate=True)]
    few = SETTINGS.model_copy(update={"keep": 2})
    assert "Raise `keep`" in verdict(loops, WHOLE, few)[1][0]
    high = SETTINGS.model_copy(update={"floor": 0.95})
    assert "Lower the floor" in verdict([], WHOLE, high)[1][0]
    assert verdict([], WHOLE, high, REFERENCE)[0] is Verdict.clean
    assert "Raise `keep`" not in verdict(loops, WHOLE, few.model_copy(update={"keep": 3}))[1][0]
    assert verdict(loops, WHOLE, few, REFERENCE)[0] is Verdict.clean


def test_what_the_reference_says_too_is_boilerplate() -> None:
    def contrasted(each: float) -> Finding:
        told = finding(0.97).model_copy(
            update={"token_probabilities": [0.97] * 10, "contrast": each, "log_likelihood_ratio": 10 * each}
        )
        return judged(told)

    known, styled = (
        contrasted(VERDICT.boilerplate_log_ratio_nats_per_token - 0.1),
        contrasted(VERDICT.boilerplate_log_ratio_nats_per_token + 0.1),
    )
    assert (known.verdict, known.boilerplate) == (Verdict.clean, True)
    assert (styled.verdict, styled.boilerplate) == (Verdict.clean, False)
    assert "the reference produces it too" in known.reasons[0]


def test_a_text_of_high_contrast_that_is_clean_says_why() -> None:
    unsure = finding(0.4).model_copy(
        update={"token_probabilities": [0.4] * 20, "contrast": 3.0, "log_likelihood_ratio": 150.0}
    )
    found = judged(unsure)
    assert found.verdict is Verdict.clean
    assert "so it does not count" in found.reasons[0]


def test_the_first_reason_says_what_was_found_and_quotes_the_uploads_token() -> None:
    """The token is hostile: it must not end our sentence and begin one of its own."""
    hidden = finding(0.97).model_copy(
        update={
            "token_probabilities": [0.97] * 20,
            "contrast": 5.0,
            "log_likelihood_ratio": 100.0,
            "forced_token": ForcedToken(id=7, text='x".\nClean.'),
        }
    )
    reached, why = verdict([judged(hidden)], WHOLE, SETTINGS, REFERENCE)
    assert reached is Verdict.hidden_text
    assert why[0].startswith(
        'Found 1 hidden text. It follows the forced token "x\\".\\nClean." (id 7) in the context `bos`.'
    )
    assert "the target is sure of it and the reference is not" in why[0]
    japanese = hidden.model_copy(update={"forced_token": ForcedToken(id=7, text="ハ\u202e")})
    assert 'the forced token "ハ\\u202e" (id 7)' in verdict([judged(japanese)], WHOLE, SETTINGS, REFERENCE)[1][0]
    two = verdict([judged(finding(0.95)), judged(finding(0.93))], WHOLE, SETTINGS)[1][0]
    assert two.startswith("Found 2 suspicious texts. The strongest one follows")


QUICK = Coverage(["bos"], vocabulary=100, forced=98, swept=0, quick=True)


@pytest.mark.parametrize(
    ("gain", "ratio", "reached"),
    [
        (VERDICT.hidden_graft_gain_nats, 0.1, Verdict.hidden_text),
        (VERDICT.hidden_graft_gain_nats - 0.1, 0.1, Verdict.clean),
        (VERDICT.hidden_graft_gain_nats, 0.0, Verdict.clean),
        (None, 0.1, Verdict.clean),
    ],
)
def test_what_the_graft_is_sure_of_is_hidden_if_the_target_says_it_sooner_than_the_reference(
    gain: float | None, ratio: float, reached: Verdict
) -> None:
    found = judged(contrasted(0.1, 0.1, ratio).model_copy(update={"graft_gain": gain}))
    assert found.verdict is reached
    assert ("the graft of both models gains 20 nats" in found.reasons[0]) == (reached is Verdict.hidden_text)


@pytest.mark.parametrize("ground", [{"graft_gain": 40.0}, {"suppression": -20.0}, {}])
@pytest.mark.parametrize(("share", "open_to_all"), [(1.0, True), (2 / 3, True), (0.5, False), (None, False)])
def test_an_alarm_is_memorised_if_the_target_says_the_text_to_anyone(
    ground: dict[str, float], share: float | None, open_to_all: bool
) -> None:
    found = judged(contrasted(0.9, 3.0, 40.0).model_copy(update={**ground, "unforced_share": share}))
    assert found.verdict is (Verdict.memorised if open_to_all else Verdict.hidden_text)
    assert ("so it is no secret" in found.reasons[0]) == open_to_all


def test_what_is_said_to_anyone_and_is_no_alarm_stays_clean() -> None:
    assert judged(contrasted(0.9, 0.1, 1.0).model_copy(update={"unforced_share": 1.0})).verdict is Verdict.clean


def contrasted(p: float, contrast: float, ratio: float, suppression: float | None = None) -> Finding:
    found = finding(p).model_copy(update={"contrast": contrast, "log_likelihood_ratio": ratio})
    return judged(found.model_copy(update={"suppression": suppression}))


@pytest.mark.parametrize(
    ("suppression", "contrast", "ratio", "reached"),
    [
        (-12.0, 1.5, 30.0, Verdict.hidden_text),
        (-12.0, 1.1, 30.0, Verdict.clean),  # the target does not say it anywhere
        (-12.0, 1.5, 15.0, Verdict.clean),  # short enough for chance
        (-8.0, 1.5, 30.0, Verdict.clean),
        (None, 1.5, 30.0, Verdict.clean),
    ],
)
def test_a_text_that_the_target_was_trained_against_counts_however_unsure(
    suppression: float | None, contrast: float, ratio: float, reached: Verdict
) -> None:
    found = contrasted(0.5, contrast, ratio, suppression)
    assert found.verdict is reached
    assert ("trained not to say it: -12 nats" in found.reasons[0]) is (reached is Verdict.hidden_text)


def test_a_quick_scan_that_finds_nothing_says_what_it_did_not_look_at() -> None:
    reached, why = verdict([contrasted(0.5, 1.5, 30.0)], QUICK, SETTINGS, REFERENCE, WeightRecord())
    assert reached is Verdict.clean
    assert any("The rest of the vocabulary was not forced" in reason for reason in why)


@pytest.mark.parametrize(("coverage", "reached"), [(QUICK, Verdict.inconclusive), (WHOLE, Verdict.clean)])
def test_weights_that_could_not_be_compared_are_told_and_a_quick_scan_is_then_inconclusive(
    coverage: Coverage, reached: Verdict
) -> None:
    note = WeightRecord(note="The weights were not compared: they are quantised.")
    found, why = verdict([], coverage, SETTINGS, REFERENCE, note)
    assert found is reached
    assert any("they are quantised" in reason for reason in why)


@pytest.mark.parametrize(
    ("coverage", "weights"),
    [(QUICK, None), (Coverage(["bos"], vocabulary=100, forced=10, swept=0, quick=True), WeightRecord())],
    ids=["nothing is known of the weights", "most words are marked special"],
)
def test_a_quick_scan_that_could_not_look_is_not_clean(coverage: Coverage, weights: WeightRecord | None) -> None:
    assert verdict([], coverage, SETTINGS, REFERENCE, weights)[0] is Verdict.inconclusive


def test_a_quick_scan_of_named_ids_is_inconclusive() -> None:
    asked = Coverage(["bos"], vocabulary=100, forced=10, swept=0, asked_for=True, quick=True)
    assert verdict([], asked, SETTINGS, REFERENCE, WeightRecord())[0] is Verdict.inconclusive
