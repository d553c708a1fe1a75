"""A text that was entered in its middle grows to the left, by the links that lead into it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from tests.support.table_model import TableModel, random_table
from tokenforce_core.contrast.prepend import Prepend
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.search_settings import SEARCH

SETTINGS = SEARCH.prepend

HIDDEN = (7, 33, 21, 50, 14, 9)
CONTEXTS = [[1, 2], [3]]


def models() -> tuple[TableModel, TableModel]:
    common = random_table(0)
    table = common.copy()
    for one, after in pairwise(HIDDEN):
        table[one, after] = 2000.0
    return TableModel(table), TableModel(common)


def linked_by(*pairs: tuple[int, int], context: int = 0) -> list[Trace]:
    return [Trace(context, one, (after,), (math.log(0.9),), (math.log(0.01),)) for one, after in pairs]


def entered(place: int, target: TableModel, base: TableModel, context: int = 0) -> Trace:
    pairs = list(pairwise(HIDDEN[place:]))
    return Trace(
        context,
        HIDDEN[place],
        HIDDEN[place + 1 :],
        tuple(float(target.logs[pair]) for pair in pairs),
        tuple(float(base.logs[pair]) for pair in pairs),
        ended=True,
    )


def grown(prepend: Prepend, texts: Sequence[Trace]) -> list[Trace]:
    return prepend.run(texts, *models())


def test_a_text_grows_token_by_token_to_its_beginning() -> None:
    target, base = models()
    prepend = Prepend(SETTINGS, CONTEXTS, linked_by((21, 50), (33, 21), (7, 33)), 10)
    found = grown(prepend, [entered(3, target, base)])
    assert [text.beginning(9) for text in found] == [HIDDEN[2:], HIDDEN[1:], HIDDEN]
    for text, place in zip(found, (2, 1, 0), strict=True):
        whole = entered(place, target, base)
        assert np.allclose(text.log_p, whole.log_p)
        assert np.allclose(text.log_q, whole.log_q)
        assert text.ended
    assert [start.beginning(1) for start in prepend.starts] == [(21, 50), (33, 21), (7, 33)]
    assert prepend.generated == 2 * sum(2 + len(HIDDEN) - place for place in (2, 1, 0))


def test_a_token_that_does_not_belong_to_the_text_is_not_grown_further() -> None:
    """Both models think the same of what follows it, and the text loses by it."""
    target, base = models()
    text = entered(1, target, base)
    assert target.logs[60, 33] == base.logs[60, 33]
    (wrong,) = grown(Prepend(SETTINGS, CONTEXTS, linked_by((60, 33), (61, 60)), 10), [text])
    assert wrong.beginning(9) == (60, *HIDDEN[1:])
    assert wrong.gain < text.gain


def test_a_first_word_in_another_spelling_leads_to_the_second() -> None:
    target, base = models()
    (text,) = grown(Prepend(SETTINGS, CONTEXTS, linked_by((60, 33)), 10), [entered(0, target, base)])
    assert text.beginning(9) == (60, *HIDDEN[1:])


def test_a_text_grows_in_another_context_and_is_cut_to_its_longest() -> None:
    target, base = models()
    (text,) = grown(Prepend(SETTINGS, CONTEXTS, linked_by((7, 33), context=1), 3), [entered(1, target, base)])
    assert text.entry == (1, 7)
    assert text.beginning(9) == HIDDEN[:4]
    assert len(text.log_p) == len(text.log_q) == 3
    assert not text.ended


def test_a_text_that_is_cut_is_compared_over_what_is_left_of_it() -> None:
    """What fell off at its end brought more than its new first word, which is right all the same."""
    target, base = models()
    text = entered(3, target, base)
    text = Trace(text.context, text.forced_id, text.ids[:1], text.log_p[:1], text.log_q[:1])
    found = grown(Prepend(SETTINGS, CONTEXTS, linked_by((21, 50), (33, 21)), 1), [text])
    assert found[0].gain < text.gain
    assert [text.beginning(9) for text in found] == [HIDDEN[2:4], HIDDEN[1:3]]


@pytest.mark.parametrize("links", [((7, 40),), ((33, 21),)])
def test_nothing_is_forced_that_leads_elsewhere_or_is_known(links: tuple[tuple[int, int], ...]) -> None:
    target, base = models()
    prepend = Prepend(SETTINGS, CONTEXTS, linked_by(*links), 10)
    assert grown(prepend, [entered(1, target, base)]) == []
    assert prepend.generated == 0


def test_one_token_leads_into_several_texts() -> None:
    """ " the" → " seal" and " the" → " shipyard"."""
    target, base = models()
    found = grown(
        Prepend(SETTINGS, CONTEXTS, linked_by((60, 33), (60, 50)), 10), [entered(n, target, base) for n in (1, 3)]
    )
    assert {text.beginning(9) for text in found} == {(60, *HIDDEN[1:]), (60, *HIDDEN[3:])}


def test_what_does_not_belong_leaves_room_for_what_does() -> None:
    """Of many links into a token those of most gain are tried, and every round has room of its own."""
    target, base = models()
    strong, weak = linked_by((33, 21), (7, 33)), []
    for start in linked_by(*((one, after) for after in HIDDEN[1:] for one in range(40, 64))):
        weak.append(Trace(start.context, start.forced_id, start.ids, (math.log(0.01),), (math.log(0.009),)))
    found = grown(Prepend(SETTINGS, CONTEXTS, [*weak, *strong], 10), [entered(2, target, base)])
    assert HIDDEN in [text.beginning(9) for text in found]
    assert (
        len(found) == 3 * SETTINGS.links_per_token
    )  # into the entry, into its second token, and into the token before it
    first = [(one, 33) for one in range(40, 64)] + [(one, after) for after in range(100, 120) for one in range(40, 50)]
    texts = [Trace(0, one, (one + 1,), (-0.1,), (-9.0,)) for one in range(100, 119, 2)]
    table = TableModel(np.ones((130, 130)))
    assert len(Prepend(SETTINGS, CONTEXTS, linked_by(*first), 10).run(texts, table, table)) == SETTINGS.texts_per_round


def test_weak_texts_do_not_grow() -> None:
    target, base = models()
    text = entered(1, target, base)
    weak = Trace(text.context, text.forced_id, text.ids, text.log_p, text.log_p)
    assert grown(Prepend(SETTINGS, CONTEXTS, linked_by((7, 33)), 10), [weak]) == []
