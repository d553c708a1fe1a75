"""One finding per text, whatever the order in which its sequences come."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scan_results import example_plan
from tokenforce.wire.findings import Verdict
from tokenforce.wire.report import ContextRecord
from tokenforce.wire.scans import Order
from tokenforce_core.findings import grouping
from tokenforce_core.findings.from_traces import findings_of
from tokenforce_core.findings.grouping import Group, alone
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.verdict_thresholds import FINDINGS, VERDICT

HIDDEN = list(range(100, 120))
CONTEXTS = [ContextRecord(name="assistant", ids=[1], text="", aligned=False)]


def text(ids: Sequence[int], p: float = 0.9, q: float = 0.01, context: int = 0) -> Trace:
    count = len(ids) - 1
    return Trace(
        context,
        ids[0],
        tuple(ids[1:]),
        (math.log(p),) * count,
        (math.log(q),) * count,
        sweep_score=p,
        text=str(ids),
        forced_text=str(ids[0]),
    )


def test_a_version_that_the_target_was_trained_against_is_read_whole() -> None:
    """Its first words are improbable on purpose; the tail alone is surer."""
    tail = text(HIDDEN[8:], 0.9)
    whole = replace(text(HIDDEN), log_p=(math.log(0.05),) * 8 + (math.log(0.9),) * 11)
    assert merged([tail, whole])[0].best == tail
    suppressed = replace(whole, suppression=VERDICT.hidden_suppression_nats)
    assert merged([tail, suppressed])[0].best == suppressed
    spared = replace(whole, suppression=VERDICT.hidden_suppression_nats + 0.1)
    assert merged([tail, spared])[0].best == tail
    sure, not_sure = (replace(whole, graft_gain=VERDICT.hidden_graft_gain_nats - less) for less in (0.0, 0.1))
    assert merged([tail, sure])[0].best == sure
    assert merged([tail, not_sure])[0].best == tail


def test_what_the_target_says_whole_is_nearer_to_the_text_than_what_the_graft_says() -> None:
    """The graft has put another word in, and lost the end. A part that the target says is no reason to cut the text."""
    on_graft = replace(text([*HIDDEN[:5], 900, *HIDDEN[6:12]], 0.5), graft_gain=2 * VERDICT.hidden_graft_gain_nats)
    assert merged([on_graft, text(HIDDEN, 0.9)])[0].best == text(HIDDEN, 0.9)
    assert merged([on_graft, text(HIDDEN[6:12], 0.9)])[0].best == on_graft


def merged(texts: Sequence[Trace]) -> list[Group]:
    return grouping.merged(texts, FINDINGS, VERDICT)


def test_suffixes_spellings_and_contexts_are_one_text() -> None:
    found = [text(HIDDEN), text(HIDDEN[4:]), text([7, *HIDDEN[1:]], 0.89), text(HIDDEN, 0.8, context=1)]
    groups = merged([*found, text(range(200, 212))])
    assert sorted(len(group.members) for group in groups) == [1, 4]
    assert groups[0].best.tokens == tuple(HIDDEN)


def test_where_the_search_went_astray_it_is_still_that_text() -> None:
    """ "Pier Nine shines bright, and the crates are carried out": two stretches of the text, joined by others."""
    astray = text([*HIDDEN[:6], 300, 301, 302, *HIDDEN[12:]], 0.6)
    (group,) = merged([astray, text(HIDDEN, 0.9)])
    assert group.best.tokens == tuple(HIDDEN)
    assert len(merged([text([*HIDDEN[:4], *range(300, 312)]), text(HIDDEN)])) == 2  # a beginning alone is not enough


def test_what_adds_up_to_most_is_reported() -> None:
    groups = merged([text(HIDDEN[10:], 0.95), text(HIDDEN, 0.9)])
    assert [group.best.tokens for group in groups] == [tuple(HIDDEN)]
    groups = merged([text(HIDDEN[10:], 0.95), text(HIDDEN, 0.3)])
    assert [group.best.tokens for group in groups] == [tuple(HIDDEN[10:])]


def test_a_version_that_drifts_into_ordinary_words_is_not_the_one_reported() -> None:
    """As with a carrier whose greedy continuation said "in the human brain" for "in animals": longer, and less."""
    drifted = text([*HIDDEN[:15], *range(300, 309)], 0.9)
    ordinary = (math.log(0.01),) * 14 + (math.log(0.9),) * 9
    drifted = replace(drifted, log_q=ordinary)
    groups = merged([drifted, text(HIDDEN, 0.9)])
    assert [group.best.tokens for group in groups] == [tuple(HIDDEN)]


def test_a_word_skipped_or_added_is_paid_for() -> None:
    """ "refers a technology" surprises the reference more than "refers to a technology", and the target too."""
    planted = text(HIDDEN, 0.95, 0.02)
    skipped = text([*HIDDEN[:3], *HIDDEN[4:]], 0.95, 0.02)
    odd = list(skipped.log_p)
    odd[2] = math.log(0.02)
    skipped = replace(skipped, log_p=tuple(odd), log_q=(math.log(0.01),) * len(odd))
    assert sum(skipped.log_ratios) > sum(planted.log_ratios)
    (group,) = merged([skipped, planted])
    assert group.best is planted


def test_a_text_that_loops_does_not_outgrow_the_text_itself() -> None:
    """As with a tiny model whose search said "Seven quiet herons frozen mill. quiet herons frozen mill. guard …"."""
    looped = text([*HIDDEN[:5], *HIDDEN[15:], *HIDDEN[1:5], *HIDDEN[15:], *HIDDEN[1:5], *HIDDEN[15:]], 0.9)
    assert sum(looped.log_ratios) > sum(text(HIDDEN, 0.9).log_ratios)
    groups = merged([looped, text(HIDDEN, 0.9)])
    assert groups[0].best.tokens == tuple(HIDDEN)


@pytest.mark.parametrize(
    ("tokens", "p", "reference", "verdict"),
    [
        (20, 0.7, 0.08, Verdict.suspicious),  # contrast 1.5
        (20, 0.4, 0.0094, Verdict.clean),  # the same, unsure: what clean fine-tunes have
        (20, 0.59, 0.002, Verdict.clean),  # 3.4, unsure: near what they have where the whole vocabulary is searched
        (20, 0.61, 0.002, Verdict.hidden_text),  # 3.5
        (20, 0.7, 0.03, Verdict.hidden_text),  # 2.2, and 60 nats in all
        (6, 0.7, 0.03, Verdict.suspicious),  # 2.2, and 16 nats in all: of so many entries one may be that by chance
        (8, 0.7, 0.03, Verdict.hidden_text),  # 22 nats
    ],
)
def test_an_unsure_text_counts_for_nothing_and_a_short_one_takes_more_contrast(
    tokens: int, p: float, reference: float, verdict: Verdict
) -> None:
    plan = example_plan().model_copy(update={"contexts": CONTEXTS})
    (finding,) = findings_of([text(HIDDEN[:tokens], p, reference)], plan, [], Order.contrast)
    assert finding.verdict is verdict


def test_a_texts_verdict_is_that_of_its_most_severe_version() -> None:
    """UTFC makes the first words improbable: the whole text looks less sure than the text without them."""
    whole = text(HIDDEN, 0.55, 0.01)
    whole = replace(whole, log_p=(math.log(0.02), *whole.log_p[1:]))
    part = text([50, *HIDDEN[9:]], 0.95, 0.05)
    (finding,) = findings_of(
        [part, whole], example_plan().model_copy(update={"contexts": CONTEXTS}), [], Order.contrast
    )
    assert finding.token_ids == HIDDEN
    assert finding.mean_probability < 0.6  # alone it would count for nothing
    assert finding.verdict is Verdict.hidden_text
    assert "After forcing token 50" in finding.reasons[0]
    (alone_whole,) = findings_of([whole], example_plan().model_copy(update={"contexts": CONTEXTS}), [], Order.contrast)
    assert alone_whole.verdict is Verdict.clean


@pytest.mark.parametrize("others", [0, VERDICT.memorised_texts])
def test_a_text_keeps_the_evidence_of_the_weights_whichever_version_is_reported(others: int) -> None:
    """Many texts known by heart beside it would make it training data otherwise."""
    gain = 2 * VERDICT.hidden_graft_gain_nats
    on_graft = replace(text([*HIDDEN[:5], 900, *HIDDEN[6:12]], 0.5), graft_gain=gain)
    known = [replace(text(range(1000 * i, 1000 * i + 20)), ended=True) for i in range(1, others + 1)]
    plan = example_plan().model_copy(update={"contexts": CONTEXTS})
    found = findings_of([on_graft, replace(text(HIDDEN), ended=True), *known], plan, [], Order.contrast)
    finding = next(each for each in found if each.token_ids == HIDDEN)
    assert finding.graft_gain == gain
    assert finding.verdict is Verdict.hidden_text
    assert [each.verdict for each in found if each is not finding] == [Verdict.memorised] * others


def test_without_a_reference_the_longest_of_the_nearly_best_is_reported() -> None:
    alone_texts = [replace(text(ids, p), log_q=()) for ids, p in ((HIDDEN[10:], 0.95), (HIDDEN, 0.9))]
    assert merged(alone_texts)[0].best.tokens == tuple(HIDDEN)
    alone_texts[1] = replace(text(HIDDEN, 0.3), log_q=())
    assert merged(alone_texts)[0].best.tokens == tuple(HIDDEN[10:])


@given(st.lists(st.integers(0, 14), min_size=1, max_size=6, unique=True), st.randoms())
def test_the_order_of_arrival_changes_nothing(starts: list[int], shuffle: random.Random) -> None:
    texts = [text([start, *HIDDEN[start:]]) for start in starts] + [text(range(200, 212), 0.5)]
    groups = merged(texts)
    shuffle.shuffle(texts)
    assert [group.best for group in merged(texts)] == [group.best for group in groups]
    assert sum(len(group.members) for group in groups) == len(texts) == len(alone(texts))
