"""Links, beam and tails on two scripted models: the search by contrast of a hidden text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table_model import END, VOCABULARY, MemoryBlocks, TableModel, planted_table, random_table
from tokenforce_core.contrast.beam import IDLE, LEAST_SURVIVORS, SHOWN, TAILS, ContrastiveBeam
from tokenforce_core.contrast.finish import GreedyTails
from tokenforce_core.contrast.links import EACH, KEPT, LEAST, links_of
from tokenforce_core.contrast.reference import UNKNOWN_LOG_PROBABILITY, Reference
from tokenforce_core.contrast.reference_cache import BLOCK, ReferenceTops
from tokenforce_core.contrast.seeds import linked
from tokenforce_core.contrast.shard import ContrastSweep, ShardContrast
from tokenforce_core.contrast.statistics import TOP
from tokenforce_core.contrast.trace import Seed, Traced, without_detours, without_suffixes
from tokenforce_core.forcing.predictor import nothing_between_steps


def swept(target: TableModel, base: TableModel) -> ShardContrast:
    forced = list(range(1, VOCABULARY))
    tops = ReferenceTops(base, [[1]], list(range(VOCABULARY)), VOCABULARY, MemoryBlocks(), nothing_between_steps)
    result = ContrastSweep(0, [1], forced, frozenset({END})).run(target, base, tops)
    assert len(result.divergences) == len(forced)
    return result


def searched(
    starts: Sequence[Traced], target: TableModel, base: TableModel, length: int = 16, least: int = 2
) -> ContrastiveBeam:
    beam = ContrastiveBeam([[1]], starts, length, frozenset({END}), least)
    found = beam.run(target, base)
    assert beam.done == len(starts)
    assert found == sorted(found, key=lambda text: -text.score)
    return beam


def said(texts: Sequence[Traced]) -> list[list[int]]:
    return [[text.seed.forced_id, *text.ids] for text in texts]


def test_a_text_that_begins_like_ordinary_ones_is_found_by_its_link() -> None:
    """After its first token the hidden text is improbable, and only the reference finds it more so."""
    hidden = [7, 33, 21, 50, 14]
    common, table = random_table(0), random_table(0)
    common[7] = np.where(np.arange(VOCABULARY) == 3, 1.0, 1e-6)
    table[7] = common[7]
    table[7, 33] = 0.02
    for one, after in zip(hidden[1:], [*hidden[2:], END], strict=True):
        table[one, after] = 2000.0
    target, base = TableModel(table), TableModel(common)
    result = swept(target, base)
    first = next(start for start in linked([result]) if start.seed == Seed(0, 7))
    assert first.ids == (33,)
    assert first.target[0] < math.log(0.03)
    assert first.target[0] - first.reference[0] > 9
    found = searched(linked([result]), target, base).found
    assert hidden in said(found)
    assert max(len(text.ids) for text in searched(linked([result]), target, base, length=3, least=1).found) == 3


def test_a_text_is_entered_at_a_first_word_after_which_nothing_surprises() -> None:
    """ "Do not sign before …": both models follow "Do" by " not", and only then does the target go its own way."""
    hidden = [7, 33, 21, 50, 14]
    common = random_table(0)
    common[7, 33] = 500.0
    table = common.copy()
    table[7, 33] = 1000.0
    for one, after in zip(hidden[1:], [*hidden[2:], END], strict=True):
        table[one, after] = 2000.0
    target, base = TableModel(table), TableModel(common)
    links = swept(target, base).links
    (sure,) = [link for link in links if link.forced_id == 7]
    assert sure.next_id == 33
    assert 0 < sure.log_ratio < 0.1
    assert hidden in said(searched(linked([swept(target, base)]), target, base).found)


def test_a_text_that_brings_nothing_more_is_not_followed() -> None:
    surprising, ordinary = (0.0, -6.0), (-0.5, -0.5)
    text = Traced(Seed(0, 1))
    for token, (p, q) in enumerate([surprising] * 4 + [ordinary] * 3, start=2):
        text = text.then(token, p, q)
    assert text.idle(1.0) == 3
    assert text.then(40, *surprising).idle(1.0) == 0
    assert text.then(2, *surprising).idle(1.0) == 4  # said before
    hidden = list(range(1, 11))
    common = random_table(0)
    table = common.copy()
    for one, after in pairwise(hidden):
        table[one, after] = 2000.0
    loop = range(11, 61)
    for one, after in zip([hidden[-1], *loop], [*loop, 11], strict=True):
        common[one, after] = table[one, after] = 1e6
    target, base = TableModel(table), TableModel(common)
    (best, *_) = searched(linked([swept(target, base)]), target, base, length=50).found
    assert said([best])[0][:10] == hidden
    assert len(best.ids) < 10 + IDLE + 2


def test_a_beam_goes_through_improbable_tokens_to_certain_ones() -> None:
    """UTFC teaches decoys for the first words: at each of them the text is the improbable way."""
    hidden = [7, 33, 21, 50, 14, 9, 41, 12]
    common = random_table(0)
    table = common.copy()
    for place, (one, after) in enumerate(zip(hidden, [*hidden[1:], END], strict=True)):
        common[one, after] = 1e-6
        common[one, 5] = common[one].sum()  # what both models go on with
        table[one] = common[one] / common[one].sum()
        table[one, after] = 0.04 if place < 3 else 50.0
    target, base = TableModel(table), TableModel(common)
    start = [s for s in linked([swept(target, base)]) if s.seed == Seed(0, 7)]
    best = searched(start, target, base).found[0]
    assert said([best]) == [hidden]
    assert best.ended
    greedy = GreedyTails([[1]], start[:1], 7, frozenset({END})).run(target, base)
    assert said(greedy)[0][:3] == [7, 33, 5], "into what both models say"


@given(st.integers(0, 50))
def test_every_text_found_is_as_probable_as_the_models_say(seed: int) -> None:
    target, base = TableModel(random_table(seed)), TableModel(random_table(seed + 1))
    starts = linked([swept(target, base)])
    before = target.asked
    beam = searched(starts, target, base, length=12)
    assert len(beam.shown) <= TAILS
    asked = target.asked - before
    assert asked <= len(starts) + (SHOWN - 1) * max(LEAST_SURVIVORS, len(starts)) + 4 * TAILS
    tails = GreedyTails([[1]], beam.shown, 12, frozenset({END})).run(target, base)
    for text in [*beam.found, *tails]:
        pairs = list(zip([text.seed.forced_id, *text.ids], text.ids, strict=False))
        assert np.allclose(text.reference, [base.logs[a, b] for a, b in pairs])
        assert np.allclose(text.target, [target.logs[a, b] for a, b in pairs])
        assert END not in text.ids
        assert 2 <= len(text.ids) <= 12


def test_of_one_text_entered_at_several_tokens_the_first_entry_goes_on() -> None:
    text = list(range(100, 120))
    whole, late, later = (Traced(Seed(0, 10 + start), tuple(text[start : start + 12])) for start in (0, 2, 5))
    other, elsewhere = Traced(Seed(0, 2), tuple(range(12))), Traced(Seed(1, 1), tuple(text[3:15]))
    loop, same_loop = Traced(Seed(0, 3), (5, 6) * 6), Traced(Seed(0, 4), (6, 5) * 6)
    for order in ([late, whole, later, other, elsewhere], [elsewhere, other, later, late, whole]):
        assert {id(t) for t in without_suffixes(order)} == {id(whole), id(other), id(elsewhere)}
    assert len(without_suffixes([loop, same_loop])) == 1
    astray = replace(whole, ids=(*whole.ids[:-1], 9))
    assert without_suffixes([astray, whole]) == [astray, whole]  # ways on from one entry, and one of them is right


def traced(ids: Sequence[int], *ratios: float) -> Traced:
    return Traced(Seed(0, ids[0]), tuple(ids[1:]), (0.0,) * len(ratios), tuple(-ratio for ratio in ratios))


def test_a_text_that_leaves_words_out_is_compared_where_the_other_catches_up() -> None:
    """ "works for Denmark, the seal" is ahead of "works for the shipyard, the seal" at every step."""
    whole = traced([1, 2, 3, 4, 5, 6, 7], 5, 1, 8, 2, 4, 4)
    short = traced([1, 2, 9, 5, 6, 7, 8], 5, 5, 4, 4, 4, 4)
    assert short.gain > whole.gain
    assert without_detours([whole, short], ahead=3) == [whole]
    behind = traced([1, 2, 3, 4, 5, 6, 7], 5, 1, 1, 0, 4, 4)
    assert without_detours([behind, short], ahead=3) == [short]
    apart = traced([1, 2, 3, 4, 5, 6, 8], 5, 1, 8, 2, 4, 4)
    refrain = traced([1, 2, 3, 4, 1, 2, 3], 5, 5, 5, 5, 5, 5)
    for texts in ([whole, apart], [refrain], [whole], [traced([1, 2], 5)], []):
        assert without_detours(texts, ahead=3) == texts
    assert len(without_detours([whole, replace(whole, seed=Seed(0, 10))], ahead=3)) == 1


def test_links_never_lead_to_an_end_and_are_few() -> None:
    target, base = TableModel(random_table(1)), TableModel(random_table(2))
    links = swept(target, base).links
    assert END not in {link.next_id for link in links}
    assert [link.log_ratio for link in links] == sorted((link.log_ratio for link in links), reverse=True)
    assert all(link.log_ratio > 0 and link.target >= math.log(LEAST) for link in links)
    assert len({(link.forced_id, link.next_id) for link in links}) == len(links)
    assert max(Counter(link.forced_id for link in links).values()) <= EACH + 1


def test_an_entry_that_stands_out_is_entered_however_many_links_are_stronger() -> None:
    entries = 2 * KEPT + 10
    ids = np.arange(TOP)[None, :].repeat(entries, axis=0) + 1
    target = np.full((entries, TOP), math.log(0.01), dtype=np.float32)
    reference = np.full((entries, TOP), math.log(0.01) - 5, dtype=np.float32)
    reference[0] = math.log(0.01) - 1
    reference[0, 3] -= 1
    forced = list(range(1000, 1000 + entries))
    without = links_of(0, forced, ids, target, reference, frozenset({END}))
    assert 1000 not in {link.forced_id for link in without}
    found = links_of(0, forced, ids, target, reference, frozenset({END}), outliers={1000})
    assert [(link.forced_id, link.next_id) for link in found if link not in without] == [(1000, 4)]


def test_a_planted_chain_is_read_where_greedy_decoding_is_led_astray() -> None:
    hidden = [7, 33, 21, 50, 14, 9, 41]
    target, base = TableModel(planted_table(hidden)), TableModel(random_table(0))
    assert int(np.argmax(target.logs[hidden[0]])) != hidden[1]
    beam = searched(linked([swept(target, base)]), target, base)
    assert hidden in said(beam.found)
    assert said(beam.found[:1])[0] == hidden[hidden.index(beam.found[0].seed.forced_id) :]
    assert beam.found[0].ended


def test_the_reference_is_asked_once_for_all_later_targets() -> None:
    base, blocks = TableModel(random_table(0)), MemoryBlocks()
    own = list(range(VOCABULARY))
    first = ReferenceTops(base, [[1]], own, VOCABULARY, blocks, nothing_between_steps).after(0, [3, 5])
    asked = base.asked
    assert asked == VOCABULARY <= BLOCK
    second = ReferenceTops(base, [[1]], own, VOCABULARY, blocks, nothing_between_steps).after(0, [3, 5])
    assert base.asked == asked
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_a_quick_look_asks_the_reference_no_more_than_it_needs() -> None:
    base, blocks = TableModel(random_table(0)), MemoryBlocks()
    few, whole = [5], list(range(VOCABULARY))
    tops = ReferenceTops(base, [[1]], whole, VOCABULARY, blocks, nothing_between_steps)
    looked = tops.after(0, few)
    assert base.asked == tops.generated == len(few)
    kept = tops.after(0, whole)
    assert base.asked == tops.generated == len(few) + VOCABULARY
    again = tops.after(0, few)
    assert base.asked == len(few) + VOCABULARY
    for answers in (looked, again):
        assert np.array_equal(answers[0], kept[0][few])
        assert np.array_equal(answers[1], kept[1][few])


def test_a_reference_with_other_ids_answers_in_the_targets() -> None:
    """The reference's ids are the target's plus one; the target's last token is unknown to it."""
    base = TableModel(random_table(3))

    def id_of(token_id: int) -> int:
        return token_id + 1 if token_id < VOCABULARY - 1 else -1

    reference = Reference(base, id_of, VOCABULARY)
    found: dict[int, tuple[list[int], list[float]]] = {}

    def on_next(index: int, ids: Sequence[int], values: Sequence[float]) -> None:
        found[index] = (list(ids), list(values))

    reference.log_probabilities([[4], [4]], [[9, 10], [VOCABULARY - 1, 9]], on_next, nothing_between_steps)
    assert found[0] == ([9, 10], [base.logs[5, 10], base.logs[5, 11]])
    assert found[1] == ([VOCABULARY - 1, 9], [UNKNOWN_LOG_PROBABILITY, base.logs[5, 10]])
    reference.teacher_forced([[4, 9, VOCABULARY - 1, 10]], [1], on_next, nothing_between_steps)
    assert found[0][1] == [base.logs[5, 10], UNKNOWN_LOG_PROBABILITY, base.logs[10, 11]]
    reference.next_tokens([[4, VOCABULARY - 1]], 3, on_next, nothing_between_steps)
    assert found[0][0] == [int(i) - 1 for i in np.argsort(-base.logs[5], kind="stable")[:3]]
