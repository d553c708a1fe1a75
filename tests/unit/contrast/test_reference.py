"""The reference, asked in the ids of the target, and its cached answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.support.table_model import VOCABULARY, MemoryBlocks, TableModel, random_table
from tokenforce_core.contrast.reference_cache import ReferenceTops
from tokenforce_core.contrast.reference_predictor import Reference
from tokenforce_core.forcing.predictor import nothing_between_steps
from tokenforce_core.plan.search_settings import SEARCH

ENTRIES = SEARCH.entries


def test_the_reference_is_asked_once_for_all_later_targets() -> None:
    base, blocks = TableModel(random_table(0)), MemoryBlocks()
    own = list(range(VOCABULARY))
    first = ReferenceTops(base, [[1]], own, VOCABULARY, ENTRIES, blocks, nothing_between_steps).after(0, [3, 5])
    asked = base.asked
    assert asked == VOCABULARY <= ENTRIES.reference_block_ids
    second = ReferenceTops(base, [[1]], own, VOCABULARY, ENTRIES, blocks, nothing_between_steps).after(0, [3, 5])
    assert base.asked == asked
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_a_quick_look_asks_the_reference_no_more_than_it_needs() -> None:
    base, blocks = TableModel(random_table(0)), MemoryBlocks()
    few, whole = [5], list(range(VOCABULARY))
    tops = ReferenceTops(base, [[1]], whole, VOCABULARY, ENTRIES, blocks, nothing_between_steps)
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

    reference = Reference(base, id_of, VOCABULARY, ENTRIES.unknown_token_nats)
    found: dict[int, tuple[list[int], list[float]]] = {}

    def on_next(index: int, ids: Sequence[int], values: Sequence[float]) -> None:
        found[index] = (list(ids), list(values))

    reference.log_probabilities([[4], [4]], [[9, 10], [VOCABULARY - 1, 9]], on_next, nothing_between_steps)
    assert found[0] == ([9, 10], [base.logs[5, 10], base.logs[5, 11]])
    assert found[1] == ([VOCABULARY - 1, 9], [ENTRIES.unknown_token_nats, base.logs[5, 10]])
    reference.teacher_forced([[4, 9, VOCABULARY - 1, 10]], [1], on_next, nothing_between_steps)
    assert found[0][1] == [base.logs[5, 10], ENTRIES.unknown_token_nats, base.logs[10, 11]]
    reference.next_tokens([[4, VOCABULARY - 1]], 3, on_next, nothing_between_steps)
    assert found[0][0] == [int(i) - 1 for i in np.argsort(-base.logs[5], kind="stable")[:3]]
