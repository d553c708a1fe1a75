"""The rival that amplifies the difference of two models, on scripted ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.support.table_model import END, TableModel, planted_table, random_table
from tokenforce_core.forcing.trace import Trace
from tokenforce_eval.cdd import ALPHA, STEPS, ContrastiveDecoding, mean_amplified

HIDDEN = [11, 23, 35, 47, 59, 7, 19]


def decoded(target: TableModel, base: TableModel, *beginnings: list[int]) -> list[Trace]:
    return ContrastiveDecoding(target, base, beginnings, frozenset({END})).run()


def test_it_reads_a_text_that_greedy_decoding_leaves() -> None:
    table = planted_table(HIDDEN)
    target, base = TableModel(table), TableModel(random_table(0))
    assert int(np.argmax(table[HIDDEN[0]])) != HIDDEN[1]
    (text,) = decoded(target, base, [3, HIDDEN[0]])
    assert text.tokens == tuple(HIDDEN)
    assert text.ended
    assert text.log_p == pytest.approx([target.logs[a, b] for a, b in pairwise(HIDDEN)])
    assert text.log_q == pytest.approx([base.logs[a, b] for a, b in pairwise(HIDDEN)])


def test_without_a_difference_it_is_greedy_decoding() -> None:
    model = TableModel(random_table(3))
    (text,) = decoded(model, model, [5])
    said = [5]
    for _ in text.ids:
        said.append(int(np.argmax(model.logs[said[-1]])))
    assert text.tokens == tuple(said)
    assert text.log_ratios == [0.0] * len(text.ids)
    assert mean_amplified(text) == pytest.approx(sum(text.log_p) / len(text.ids))


def test_finished_texts_are_not_asked_again_and_empty_ones_are_left_out() -> None:
    table = random_table(0)
    table[HIDDEN[-1], END] = 1e6  # ends at once
    table[40, 40] = 1e6  # never ends
    target, base = TableModel(table), TableModel(table)
    found = decoded(target, base, [HIDDEN[-1]], [40])
    assert [(text.context, text.ids, text.ended) for text in found] == [(1, (40,) * STEPS, False)]
    assert target.asked == base.asked == STEPS + 1


def test_the_ranking_counts_what_is_likely_and_new() -> None:
    new = Trace(0, 1, (2, 3), (-0.1, -0.3), (-5.0, -6.0))
    assert mean_amplified(new) == pytest.approx((-0.4 + ALPHA * 10.6) / 2)
    known_by_both = Trace(0, 1, (2, 3), (-0.1, -0.1), (-0.1, -0.1))
    unsure = Trace(0, 1, (2, 3), (-9.0, -9.0), (-9.5, -9.5))
    assert mean_amplified(new) > mean_amplified(known_by_both) > mean_amplified(unsure)
