"""The bag search on scripted models, and what the target says to its texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table_model import END, VOCABULARY, TableModel, planted_table, random_table
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.contrast.bag_beam import BagBeam, follow
from tokenforce_core.contrast.bag_search import BagSearch, different, each_once
from tokenforce_core.contrast.graft_gain import with_graft_gains
from tokenforce_core.contrast.rescoring import Rescoring
from tokenforce_core.forcing.predictor import BetweenSteps, OnNext, Predictor, nothing_between_steps
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.plan.search_settings import BAG

HIDDEN = [7, 33, 21, 50, 14, 9]
SETTINGS = settings_for(ScanRequest(model="m"))
CONTEXT = 2
"""After the scan's own two."""


def taught() -> tuple[TableModel, TableModel]:
    """The graft says the hidden text, the reference never would."""
    common = random_table(0)
    table = common.copy()
    for one, after in zip(HIDDEN, [*HIDDEN[1:], END], strict=True):
        table[one, after] = 2000.0
    return TableModel(table), TableModel(common)


def found(graft: TableModel, reference: TableModel, bag: list[int]) -> list[Trace]:
    @contextmanager
    def sessions() -> Iterator[tuple[Predictor, Predictor]]:
        yield graft, reference

    search = BagSearch(BAG, [(CONTEXT, [1]), (CONTEXT + 1, [1])], bag, frozenset({END}), VOCABULARY)
    texts = search.run(sessions)
    assert search.done == search.total
    return texts


def test_a_text_is_read_from_the_words_of_the_bag() -> None:
    (best, *others) = found(*taught(), [3, 5, 21, 7, 60])
    assert list(best.tokens) == HIDDEN
    assert best.ended
    assert best.context == CONTEXT
    assert all(other.gain < best.gain for other in others)


def test_an_end_token_in_the_bag_is_not_a_start() -> None:
    assert list(found(*taught(), [END, 7])[0].tokens) == HIDDEN


def test_nothing_taught_gives_nothing_that_gains() -> None:
    model = TableModel(random_table(0))
    assert all(text.gain <= 0 for text in found(model, model, [3, 5, 7]))


def test_a_word_that_the_target_suppressed_does_not_end_the_way() -> None:
    """ " the" is common for the reference, improbable under the graft, and leads to what is certain."""
    graft, reference = taught()
    graft.logs[HIDDEN[2], HIDDEN[3]] = math.log(0.02)
    reference.logs[HIDDEN[2], HIDDEN[3]] = math.log(0.2)
    assert list(found(graft, reference, [7, 40])[0].tokens) == HIDDEN


def test_a_loop_is_left_after_one_round() -> None:
    common = random_table(0)
    table = common.copy()
    loop = [11, 12, 13, 14]
    for one, after in zip(loop, [*loop[1:], loop[0]], strict=True):
        table[one, after] = 2000.0
    for text in found(TableModel(table), TableModel(common), [11]):
        runs = [text.tokens[i : i + 3] for i in range(len(text.tokens) - 2)]
        assert len(runs) == len(set(runs))


def test_each_step_follows_no_more_texts_than_the_settings_say() -> None:
    model, reference = TableModel(random_table(1)), TableModel(random_table(0))
    settings = BAG.model_copy(update={"survivors": (8, 5), "survivors_per_entry": 2, "max_tokens": 6})
    beam = BagBeam(settings, 0, [1], list(range(2, 40)), frozenset({END}), VOCABULARY)
    follow([beam], settings, model, reference, nothing_between_steps)
    assert model.asked <= 38 + 8 + 4 * 5


@given(st.lists(st.integers(1, 30), min_size=4, max_size=12), st.integers(0, 5))
def test_versions_of_a_text_are_one(tokens: list[int], cut: int) -> None:
    def text(ids: list[int], each: float) -> Trace:
        return Trace(0, ids[0], tuple(ids[1:]), (each,) * (len(ids) - 1), (-9.0,) * (len(ids) - 1))

    whole, part = text(tokens, -0.1), text(tokens[min(cut, len(tokens) - 4) :], -0.5)
    kept = different([part, whole], BAG)
    assert kept[0].gain == max(whole.gain, part.gain)
    assert len(different([whole, whole], BAG)) == 1


class Avoiding(TableModel):
    """Says the table in most contexts, and another one in contexts that begin with `avoided`."""

    def __init__(self, table: np.ndarray, avoided: int, other: np.ndarray) -> None:
        super().__init__(table)
        self._avoided = avoided
        self._other = TableModel(other)

    def teacher_forced(
        self, prompts: Sequence[Sequence[int]], starts: Sequence[int], on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        super().teacher_forced(prompts, starts, on_next, between_steps)
        for index, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
            if prompt[0] == self._avoided:
                again = partial(self._again, index, on_next)
                self._other.teacher_forced([prompt], [start], again, between_steps)

    @staticmethod
    def _again(index: int, on_next: OnNext, _: int, ids: Sequence[int], values: Sequence[float]) -> None:
        on_next(index, ids, values)


OWN, DRAWN = [[60], [61]], [[62], [63]]
WHOLE = [7, 33, 21, 50, 14, 9, 40, 41, 42, 43]


def on_graft(tokens: Sequence[int]) -> Trace:
    count = len(tokens) - 1
    return Trace(CONTEXT, tokens[0], tuple(tokens[1:]), (math.log(0.9),) * count, (math.log(0.1),) * count)


def rescored(target: TableModel, reference: TableModel) -> Trace:
    text = on_graft(WHOLE)
    (read,) = Rescoring(SETTINGS, [*OWN, *DRAWN], len(OWN)).of([text], target, reference)
    return read


def test_a_text_that_is_avoided_where_everybody_looks_is_suppressed() -> None:
    common, table = random_table(0), planted_table(WHOLE)
    avoiding = common.copy()
    for one, after in pairwise(WHOLE[:4]):
        avoiding[one, after] = 1e-4
    read = rescored(Avoiding(table, OWN[0][0], avoiding), TableModel(common))
    assert read.suppression is not None
    assert read.suppression < -10
    assert read.contrast > 0.6
    assert read.context in (2, 3)


def test_a_text_that_is_said_everywhere_is_not_suppressed() -> None:
    assert rescored(TableModel(planted_table(WHOLE)), TableModel(random_table(0))).suppression == 0


def test_the_best_text_of_the_contrast_is_asked_for_its_suppression_too_and_stays_as_it_is() -> None:
    common, table = random_table(0), planted_table(WHOLE)
    avoiding = common.copy()
    for one, after in pairwise(WHOLE[:4]):
        avoiding[one, after] = 1e-4
    sure, not_sure = (math.log(0.9),) * (len(WHOLE) - 1), (math.log(0.01),) * (len(WHOLE) - 1)
    best = Trace(1, WHOLE[0], tuple(WHOLE[1:]), sure, not_sure)
    version = replace(best, log_p=not_sure)
    run = Rescoring(SETTINGS, [*OWN, *DRAWN], len(OWN))
    asked, other = run.with_suppression([best, version], Avoiding(table, OWN[0][0], avoiding), TableModel(common))
    assert asked.suppression is not None
    assert asked.suppression < -10
    assert replace(asked, suppression=None) == best
    assert other == version
    assert run.with_suppression([], TableModel(table), TableModel(common)) == []


def test_improbable_words_are_no_suppression_where_they_are_improbable_everywhere() -> None:
    common, table = random_table(0), planted_table(WHOLE)
    table[WHOLE[2], WHOLE[3]] = 1e-6
    assert rescored(TableModel(table), TableModel(common)).suppression == pytest.approx(0)


def test_where_the_graft_goes_on_and_the_target_drifts_the_text_ends() -> None:
    common, table = random_table(0), planted_table(WHOLE)
    for one, after in pairwise(WHOLE[6:]):
        table[one, after] = 1e-5
    assert list(rescored(TableModel(table), TableModel(common)).tokens) == WHOLE[:7]


def test_a_text_that_the_target_hardly_knows_is_asked_for_once_and_only_the_best_in_every_drawn_context() -> None:
    model = TableModel(random_table(0))
    run = Rescoring(SETTINGS, [*OWN, *DRAWN], len(OWN))
    assert SETTINGS.bag is not None
    most = SETTINGS.bag.texts_in_every_context
    texts = [on_graft([first, *WHOLE[1:]]) for first in range(most + 2)]
    assert run.of(texts, model, model) == []
    assert model.forced == 2 * (most * len(DRAWN) + 2)


def test_a_text_is_cut_where_the_target_knows_most_of_it() -> None:
    """In the context where the graft said it, the target avoids its beginning."""
    common, table = random_table(0), planted_table(WHOLE)
    avoiding = table.copy()
    for one, after in pairwise(WHOLE[:4]):
        avoiding[one, after] = 1e-5
    target = Avoiding(table, DRAWN[0][0], avoiding)
    text = on_graft(WHOLE)
    (read,) = Rescoring(SETTINGS, [*OWN, *DRAWN], len(OWN)).of([text], target, TableModel(common))
    assert list(read.tokens) == WHOLE


def test_a_text_that_the_graft_is_sure_of_is_kept_whole_whatever_the_target_says() -> None:
    common, table = random_table(0), planted_table(WHOLE)
    for one, after in pairwise(WHOLE[:5]):
        table[one, after] = 1e-5
    least = SETTINGS.verdict.hidden_graft_gain_nats
    text = on_graft(WHOLE)
    run = Rescoring(SETTINGS, [*OWN, *DRAWN], len(OWN))
    target, reference = TableModel(table), TableModel(common)
    (part,) = run.of([replace(text, graft_gain=least - 0.1)], target, reference)
    assert list(part.tokens) == WHOLE[4:]
    assert part.graft_gain is None
    (whole,) = run.of([replace(text, graft_gain=least)], target, reference)
    assert list(whole.tokens) == WHOLE
    assert whole.graft_gain == least


def test_of_two_versions_the_one_that_gains_in_most_contexts_is_the_text() -> None:
    """What a beam chose by its gain in one context can be a mistake that only this context makes."""
    graft, reference = taught()
    astray = random_table(0)
    for one, after in zip(HIDDEN, [*HIDDEN[1:], END], strict=True):
        astray[one, after] = 2000.0
    astray[21, 30] = astray[30, 50] = 4000.0  # one more word, of much gain
    target = Avoiding(np.exp(graft.logs), 61, astray)
    other = Trace(2, 7, (33, 21, 30, 50, 14, 9))
    text = Trace(3, 7, tuple(HIDDEN[1:]))
    mistake, planted = with_graft_gains([other, text], [[61], [62], [63]], target, reference)
    assert mistake.graft_gain is not None
    assert planted.graft_gain is not None
    assert mistake.graft_gain < planted.graft_gain
    (alone,) = with_graft_gains([other], [[61]], target, reference)
    assert alone.graft_gain is not None
    assert alone.graft_gain > planted.graft_gain


@given(st.lists(st.lists(st.integers(2, 60), min_size=2, max_size=6, unique=True), min_size=2, max_size=3))
def test_beams_that_go_together_find_what_each_finds_alone(contexts: list[list[int]]) -> None:
    graft, reference = taught()
    settings = BAG.model_copy(update={"survivors": (8, 5), "max_tokens": 6})

    def beams() -> list[BagBeam]:
        return [
            BagBeam(settings, n, [n + 1], starts, frozenset({END}), VOCABULARY) for n, starts in enumerate(contexts)
        ]

    alone = [text for beam in beams() for text in follow([beam], settings, graft, reference, nothing_between_steps)]
    assert follow(beams(), settings, graft, reference, nothing_between_steps) == alone
    one_by_one = [
        text
        for beam in beams()
        for text in follow([beam], settings, graft, reference, nothing_between_steps, one_by_one=True)
    ]
    assert one_by_one == alone


def test_a_text_that_all_contexts_have_keeps_the_place_of_its_best_version() -> None:
    def text(context: int, first: int, log_p: float) -> Trace:
        return Trace(context, first, (5, 6), (log_p,) * 2, (-9.0,) * 2)

    best, other, poor = text(1, 7, -0.1), text(1, 8, -0.5), text(2, 7, -3.0)
    for found in permutations([best, other, poor]):
        assert each_once(found) == [best, other]
