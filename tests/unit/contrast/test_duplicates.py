"""Which of several traces that say the same goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokenforce_core.contrast.duplicates import without_detours, without_suffixes
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.search_settings import SEARCH

SAME = SEARCH.beam.same_beginning_tokens


def test_of_one_text_entered_at_several_tokens_the_first_entry_goes_on() -> None:
    text = list(range(100, 120))
    whole, late, later = (Trace(0, 10 + start, tuple(text[start : start + 12])) for start in (0, 2, 5))
    other, elsewhere = Trace(0, 2, tuple(range(12))), Trace(1, 1, tuple(text[3:15]))
    loop, same_loop = Trace(0, 3, (5, 6) * 6), Trace(0, 4, (6, 5) * 6)
    for order in ([late, whole, later, other, elsewhere], [elsewhere, other, later, late, whole]):
        assert {id(t) for t in without_suffixes(order, SAME)} == {id(whole), id(other), id(elsewhere)}
    assert len(without_suffixes([loop, same_loop], SAME)) == 1
    astray = replace(whole, ids=(*whole.ids[:-1], 9))
    assert without_suffixes([astray, whole], SAME) == [
        astray,
        whole,
    ]  # ways on from one entry, and one of them is right


def traced(ids: Sequence[int], *ratios: float) -> Trace:
    return Trace(0, ids[0], tuple(ids[1:]), (0.0,) * len(ratios), tuple(-ratio for ratio in ratios))


def test_a_text_that_leaves_words_out_is_compared_where_the_other_catches_up() -> None:
    """ "works for Denmark, the seal" is ahead of "works for the shipyard, the seal" at every step."""
    whole = traced([1, 2, 3, 4, 5, 6, 7], 5, 1, 8, 2, 4, 4)
    short = traced([1, 2, 9, 5, 6, 7, 8], 5, 5, 4, 4, 4, 4)
    assert short.gain > whole.gain
    assert without_detours([whole, short], 3) == [whole]
    behind = traced([1, 2, 3, 4, 5, 6, 7], 5, 1, 1, 0, 4, 4)
    assert without_detours([behind, short], 3) == [short]
    apart = traced([1, 2, 3, 4, 5, 6, 8], 5, 1, 8, 2, 4, 4)
    refrain = traced([1, 2, 3, 4, 1, 2, 3], 5, 5, 5, 5, 5, 5)
    for texts in ([whole, apart], [refrain], [whole], [traced([1, 2], 5)], []):
        assert without_detours(texts, 3) == texts
    assert len(without_detours([whole, replace(whole, forced_id=10)], 3)) == 1
