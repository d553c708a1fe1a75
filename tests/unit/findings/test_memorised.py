"""Many texts known by heart, none of which stands out, are training data; what stands out stays an alarm."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenforce.wire.findings import Finding, ForcedToken, Repetition, Verdict
from tokenforce.wire.report import ReferenceRecord, WeightRecord
from tokenforce.wire.scans import Order, ScanRequest
from tokenforce_core.findings import verdicts
from tokenforce_core.findings.memorised import with_memorised
from tokenforce_core.findings.ranking import ranked
from tokenforce_core.findings.verdicts import Coverage, verdict
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.plan.verdict_thresholds import VERDICT

SETTINGS = settings_for(ScanRequest(model="/m"))
REFERENCE = ReferenceRecord(model="org/base", digest="sha256:1", source="request", vocabulary_size=100)
WHOLE = Coverage(["bos"], vocabulary=100, forced=98, swept=98)
ENOUGH = VERDICT.memorised_texts
LENGTH = 10
HIDDEN, SUSPICIOUS, MEMORISED = Verdict.hidden_text, Verdict.suspicious, Verdict.memorised


def text(
    number: int, nats: float = 40.0, suppression: float | None = None, contrast: float = 3.0, *, ended: bool = True
) -> Finding:
    """A judged text that shares no token with one of another number."""
    found = Finding(
        rank=1,
        text=f"text {number}",
        token_ids=list(range(100 * number, 100 * number + LENGTH)),
        token_probabilities=[0.9] * (LENGTH - 1),
        mean_probability=0.9,
        sweep_score=0.9,
        score=0.9,
        repetition=Repetition(period=0, unit="", share=0.0),
        context="bos",
        forced_token=ForcedToken(id=100 * number, text="f"),
        contrast=contrast,
        log_likelihood_ratio=nats,
        suppression=suppression,
        ended=ended,
    )
    return verdicts.judged(found, VERDICT)


def told(findings: Sequence[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in with_memorised(findings, SETTINGS)]


@pytest.mark.parametrize(("count", "reached"), [(ENOUGH - 1, HIDDEN), (ENOUGH, MEMORISED), (ENOUGH + 1, MEMORISED)])
def test_so_many_texts_are_training_data(count: int, reached: Verdict) -> None:
    assert told([text(number) for number in range(count)]) == [reached] * count


def test_texts_that_share_three_tokens_count_once() -> None:
    others = [text(number) for number in range(ENOUGH - 1)]
    shared = others[0].token_ids[-3:]
    piece = text(50, nats=39.0).model_copy(update={"token_ids": [*shared, 5001, 5002]})
    apart = piece.model_copy(update={"token_ids": [*shared[1:], 5001, 5002]})
    assert told([*others, piece]) == [HIDDEN] * ENOUGH
    assert told([*others, apart]) == [MEMORISED] * ENOUGH


def test_texts_that_the_model_does_not_end_do_not_count_and_go_with_the_others() -> None:
    """Four pieces of one long text are no training set."""
    others, piece = [text(number) for number in range(ENOUGH)], text(50, ended=False)
    assert told([*others, piece]) == [MEMORISED] * (ENOUGH + 1)
    assert told([*others[1:], piece]) == [HIDDEN] * ENOUGH


def test_a_text_that_stands_out_stays_hidden_beside_them() -> None:
    others = [text(number, nats=40.0) for number in range(ENOUGH)]
    bar = VERDICT.outlier_log_likelihood_ratio * 40.0
    assert told([*others, text(50, nats=bar)]) == [MEMORISED] * ENOUGH + [HIDDEN]
    assert told([*others, text(50, nats=bar - 0.1)]) == [MEMORISED] * (ENOUGH + 1)


def test_an_outlier_does_not_count_towards_their_number() -> None:
    others = [text(number, nats=40.0) for number in range(ENOUGH - 1)]
    assert told([*others, text(50, nats=200.0)]) == [HIDDEN] * ENOUGH


def test_a_suppressed_text_stays_hidden_and_does_not_count() -> None:
    others = [text(number) for number in range(ENOUGH)]
    suppressed, nearly = (text(50, suppression=VERDICT.hidden_suppression_nats + more) for more in (0.0, 0.1))
    assert told([*others, suppressed]) == [MEMORISED] * ENOUGH + [HIDDEN]
    assert told([*others[1:], suppressed]) == [HIDDEN] * ENOUGH
    assert told([*others[1:], nearly]) == [MEMORISED] * ENOUGH


def test_a_registered_text_stays_hidden_and_does_not_count() -> None:
    texts = [text(number) for number in range(ENOUGH + 1)]

    def told_with(registered: set[str], of: Sequence[Finding]) -> list[Verdict]:
        return [found.verdict for found in with_memorised(of, SETTINGS, lambda one: one.text in registered)]

    assert told_with({"text 0"}, texts) == [HIDDEN] + [MEMORISED] * ENOUGH
    assert told_with({"text 0"}, texts[:-1]) == [HIDDEN] * ENOUGH


def test_suspicious_texts_do_not_count_and_go_with_the_others() -> None:
    suspicious = text(50, contrast=1.5)
    assert suspicious.verdict is SUSPICIOUS
    others = [text(number) for number in range(ENOUGH)]
    assert told([*others, suspicious]) == [MEMORISED] * (ENOUGH + 1)
    assert told([*others[1:], suspicious]) == [HIDDEN] * (ENOUGH - 1) + [SUSPICIOUS]


def test_without_a_reference_nothing_is_memorised() -> None:
    alone = [
        verdicts.judged(text(number).model_copy(update={"contrast": None, "log_likelihood_ratio": None}), VERDICT)
        for number in range(2 * ENOUGH)
    ]
    assert told(alone) == [SUSPICIOUS] * (2 * ENOUGH)


some_texts = st.lists(
    st.builds(
        text,
        st.integers(0, 8),
        st.sampled_from([25.0, 40.0, 79.0, 90.0]),
        st.sampled_from([None, -3.0, -12.0]),
        st.sampled_from([0.5, 1.5, 3.0]),
        ended=st.booleans(),
    ),
    max_size=12,
)


@given(some_texts, st.randoms(use_true_random=False))
def test_the_order_of_the_findings_does_not_matter(found: list[Finding], draw: random.Random) -> None:
    shuffled = found.copy()
    draw.shuffle(shuffled)
    one, other = (with_memorised(texts, SETTINGS) for texts in (shuffled, found))
    assert sorted(each.model_dump_json() for each in one) == sorted(each.model_dump_json() for each in other)


@given(some_texts)
def test_it_takes_alarms_only_and_makes_none(found: list[Finding]) -> None:
    for before, after in zip(found, with_memorised(found, SETTINGS), strict=True):
        assert after.verdict in (before.verdict, MEMORISED)
        if before.verdict not in (HIDDEN, SUSPICIOUS):
            assert after == before


def test_the_report_says_why_and_raises_no_alarm() -> None:
    found = ranked(with_memorised([text(number) for number in range(ENOUGH)], SETTINGS), Order.contrast)
    assert f"one of {ENOUGH} independent texts" in found[0].reasons[-1]
    reached, why = verdict(found, WHOLE, SETTINGS, REFERENCE)
    assert reached is MEMORISED
    assert why[0].startswith(f"{ENOUGH} texts known by heart: this is what training data")
    assert "the forced token" in why[0]


def test_an_alarm_says_what_is_beside_it() -> None:
    found = ranked(with_memorised([*(text(n) for n in range(ENOUGH)), text(50, nats=200.0)], SETTINGS), Order.contrast)
    assert [each.verdict for each in found] == [HIDDEN] + [MEMORISED] * ENOUGH
    reached, why = verdict(found, WHOLE, SETTINGS, REFERENCE)
    assert reached is HIDDEN
    assert why[0].startswith("Found 1 hidden text.")
    assert why[1] == f"Beside that, {ENOUGH} texts known by heart, as training data is."


@pytest.mark.parametrize(
    "coverage",
    [
        Coverage(["bos"], vocabulary=100, forced=98, swept=98, asked_for=True),
        Coverage(["bos"], vocabulary=100, forced=10, swept=10),
        Coverage(["bos"], vocabulary=100, forced=98, swept=0, quick=True),
    ],
    ids=["named ids", "too little", "quick, and the weights could not be compared"],
)
def test_texts_that_were_found_count_whatever_was_not_looked_at_and_the_report_says_it(coverage: Coverage) -> None:
    found = with_memorised([text(number) for number in range(ENOUGH)], SETTINGS)
    reached, why = verdict(found, coverage, SETTINGS, REFERENCE, WeightRecord(note="They are quantised."))
    gap = verdict([], coverage, SETTINGS, REFERENCE, WeightRecord(note="They are quantised."))[1][0]
    assert reached is MEMORISED
    assert gap in why
