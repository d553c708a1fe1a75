"""Refining puts a clause back that the first beam left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table_model import END, VOCABULARY, TableModel, random_table
from tokenforce.wire.settings import BagSettings
from tokenforce_core.contrast.bag_beam import follow
from tokenforce_core.contrast.bag_search import BagSearch
from tokenforce_core.contrast.refining import RefiningBeam
from tokenforce_core.contrast.splicing import spliced
from tokenforce_core.forcing.predictor import Predictor, nothing_between_steps
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.search_settings import BAG

HIDDEN = [7, 33, 21, 50, 14, 9, 40, 41, 42, 43]
SHORT = [7, 33, 14, 9, 40, 41, 42, 43]
"""Without 21 and 50, as a beam reads it that has no place left for 21."""
CONTEXT = 2


def models() -> tuple[TableModel, TableModel]:
    """The graft is less sure of 21 after 33 than of 14, and sure of all that follows 21."""
    common = random_table(0)
    table = common.copy()
    for one, after in zip(HIDDEN, [*HIDDEN[1:], END], strict=True):
        table[one, after] = 2000.0
    table[33, 21], table[33, 14] = 400.0, 2000.0
    common[33, 21] = 10.0  # nor does the word surprise the reference
    return TableModel(table), TableModel(common)


def read(tokens: Sequence[int], graft: TableModel, reference: TableModel) -> Trace:
    said = list(pairwise(tokens))
    log_p, log_q = (tuple(float(model.logs[pair]) for pair in said) for model in (graft, reference))
    return Trace(CONTEXT, tokens[0], tuple(tokens[1:]), log_p, log_q)


def versions(settings: BagSettings = BAG) -> list[Trace]:
    graft, reference = models()
    beam = RefiningBeam(settings, read(SHORT, graft, reference), [1], frozenset({END}), VOCABULARY)
    return follow([beam], settings, graft, reference, nothing_between_steps, one_by_one=True)


def test_what_leaves_the_text_and_comes_back_is_a_version_that_splices_to_the_whole() -> None:
    text = read(SHORT, *models())
    found = versions()
    assert any(version.tokens[: len(HIDDEN) - 3] == tuple(HIDDEN[: len(HIDDEN) - 3]) for version in found)
    joined = spliced([text, *found], BAG)
    assert tuple(HIDDEN) in {version.tokens for version in [*joined, *found]}


def test_the_text_itself_is_a_version_only_where_the_graft_ends_it() -> None:
    assert [version.ended for version in versions() if version.tokens == tuple(SHORT[: len(version.tokens)])] == [True]


def test_a_version_is_no_longer_than_a_text_of_the_search() -> None:
    """The scan has room for that. Here the prefixes are nearly as long, and nothing leads back."""
    graft = TableModel(random_table(5))
    text = read(range(2, 12), graft, TableModel(random_table(6)))
    settings = BAG.model_copy(update={"max_tokens": 10, "max_idle_tokens": 99})
    beam = RefiningBeam(settings, text, [1], frozenset({END}), VOCABULARY)
    follow([beam], settings, graft, TableModel(random_table(6)), nothing_between_steps)
    assert max(len(version.ids) for version in beam.found) == 10
    assert all(len(trace.ids) <= 10 for trace in beam.live)


def test_few_go_on_from_each_place_and_in_all() -> None:
    graft, reference = models()
    settings = BAG.model_copy(update={"refining_survivors": (5, 3), "ways_per_place": 1, "max_tokens": 6})
    text = read(SHORT, graft, reference)
    asked = graft.asked
    beam = RefiningBeam(settings, text, [1], frozenset({END}), VOCABULARY)
    follow([beam], settings, graft, reference, nothing_between_steps)
    assert graft.asked - asked <= len(SHORT) + 5 + 4 * 3


@pytest.mark.parametrize(("rounds", "least", "tokens"), [(0, 0.0, SHORT), (1, 0.0, HIDDEN), (1, 1e6, SHORT)])
def test_a_search_reports_the_better_version(rounds: int, least: float, tokens: list[int]) -> None:
    """With a beam of one text the search itself leaves the clause out."""
    graft, reference = models()

    @contextmanager
    def sessions() -> Iterator[tuple[Predictor, Predictor]]:
        yield graft, reference

    update = {"survivors": (1,), "refining_rounds": rounds, "min_refined_gain_nats": least}
    search = BagSearch(BAG.model_copy(update=update), [(CONTEXT, [1])], [7], frozenset({END}), VOCABULARY)
    assert list(search.run(sessions)[0].tokens) == tokens


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.data())
def test_a_cut_text_is_its_beginning(tokens: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(tokens) - 1))
    values = tuple(-0.1 * i for i in range(1, len(tokens)))
    text = Trace(0, tokens[0], tuple(tokens[1:]), values, values)
    cut = text.cut(count)
    assert cut.tokens == tuple(tokens[: count + 1])
    assert len(cut.log_p) == len(cut.log_q) == count
    assert math.isclose(cut.gain, text.gains[count], abs_tol=1e-9)


@given(st.lists(st.integers(1, 3), min_size=4, max_size=10))
def test_a_repeated_ending_is_seen(tokens: list[int]) -> None:
    text = Trace(0, tokens[0], tuple(tokens[1:]))
    spelled, ending = "".join(map(str, tokens)), "".join(map(str, tokens[-3:]))
    assert text.repeats_ending(3) == (ending in spelled[:-1])
