"""Where one text passes for hidden, the search shows the others that the target knows by heart."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace

import pytest

from tests.support.contrasting import contrasted
from tests.support.table_model import END, TableModel, random_table
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.contrast.by_heart import passes, starts_by_heart
from tokenforce_core.contrast.search import ContrastSearch
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.plan.verdict_thresholds import VERDICT

SETTINGS = settings_for(ScanRequest(model="/m", alpha=4, beta=16))
LEAST = (
    VERDICT.hidden_contrast_nats_per_token,
    VERDICT.min_mean_probability,
    VERDICT.hidden_log_likelihood_ratio_nats,
)
ANSWERS = [[start, *range(start + 1, start + 9)] for start in range(3, 63, 10)]
"""Six, of nine tokens each, which share none."""


@pytest.mark.parametrize("lower", [None, 0, 1, 2])
def test_a_text_passes_from_all_three_thresholds_on(lower: int | None) -> None:
    contrast, probability, ratio = (value - 0.01 if place == lower else value for place, value in enumerate(LEAST))
    assert passes(contrast, probability, ratio, VERDICT) is (lower is None)


def passing(context: int) -> Trace:
    return Trace(context, 1, (2,) * 10, (math.log(0.9),) * 10, (math.log(0.01),) * 10)


def link(context: int, forced_id: int, p: float, next_id: int = 9) -> Trace:
    return Trace(context, forced_id, (next_id,), (math.log(p),), (math.log(0.01),))


def test_the_best_links_of_that_context_are_followed_one_for_each_forced_token() -> None:
    links = [link(0, 5, 0.5), link(0, 6, 0.9), link(1, 7, 0.9), link(0, 5, 0.7, next_id=8)]
    assert starts_by_heart([passing(0)], links, SETTINGS) == [links[1], links[3]]
    assert starts_by_heart([passing(1)], links[::-1], SETTINGS) == [links[2]]
    one = SETTINGS.model_copy(update={"search": SETTINGS.search.model_copy(update={"by_heart_starts": 1})})
    assert starts_by_heart([passing(0), passing(1)], links, one) == [links[1], links[2]]


def test_without_a_text_that_passes_nothing_more_is_asked() -> None:
    weak = replace(passing(0), log_p=(math.log(0.5),) * 10)
    assert starts_by_heart([weak], [link(0, 5, 0.5)], SETTINGS) == []


def test_a_narrow_beam_lists_one_answer_and_the_search_all_of_them() -> None:
    common = random_table(0)
    table = common.copy()
    for answer in ANSWERS:
        for one, after in zip(answer, [*answer[1:], END], strict=True):
            table[one, after] = 2000.0
    target, base = TableModel(table), TableModel(common)
    beam = SETTINGS.search.beam.model_copy(
        update={"min_survivors": 1, "survivor_shares": [0.001], "texts_after_opening": 1, "max_found_per_context": 1}
    )
    prepend = SETTINGS.search.prepend.model_copy(update={"max_rounds": 0})

    def whole_answers(by_heart_starts: int) -> int:
        update = {"beam": beam, "prepend": prepend, "by_heart_starts": by_heart_starts}
        settings = SETTINGS.model_copy(update={"search": SETTINGS.search.model_copy(update=update)})
        search = ContrastSearch(settings, [[1]], [contrasted(target, base)], frozenset({END}))
        found = search.run([], target, base, lambda: nullcontext((target, base)))
        return sum(any(set(answer[2:]) <= set(text.tokens) for text in found) for answer in ANSWERS)

    assert whole_answers(0) <= 1
    assert whole_answers(64) == len(ANSWERS)
