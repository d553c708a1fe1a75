"""Periods of a continuation, with and without separators, and what was said before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenforce_core.forcing.repetition import NOTHING, Period, best_period, new_ratios

SPACE = 99


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1, 2, 3, 4, 5], NOTHING),
        ([], NOTHING),
        ([1], NOTHING),
        ([7, 7, 7, 7], Period(0, 1, 1.0)),
        ([1, 2, 3, 1, 2, 3], Period(0, 3, 1.0)),
        ([1, 2, 3, 1, 2, 3, 1], Period(0, 3, 1.0)),  # the cut last copy counts
        ([9, 8, 1, 2, 1, 2, 1, 2], Period(2, 2, 0.75)),  # a run-up before the loop
        ([1, 2, 3, 1, 2], NOTHING),  # less than two whole units
    ],
)
def test_known_periods(ids: list[int], expected: Period) -> None:
    assert best_period(ids) == expected


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), st.integers(2, 5))
def test_a_repeated_text_is_found_whole(unit: list[int], times: int) -> None:
    assert best_period(unit * times) == Period(0, len(unit), 1.0)


def test_separators_between_copies_are_tolerated() -> None:
    ids = [1, 2, 3, SPACE, 1, 2, 3, SPACE, SPACE, 1, 2, 3]
    strict = best_period(ids)
    tolerant = best_period(ids, lambda token_id: token_id == SPACE)
    assert strict.share < tolerant.share == 1.0
    assert ids[tolerant.start : tolerant.start + tolerant.period] == [1, 2, 3, SPACE]


@given(st.lists(st.integers(0, 3), max_size=30))
def test_the_share_is_a_share_and_the_unit_repeats(ids: list[int]) -> None:
    found = best_period(ids)
    assert 0.0 <= found.share <= 1.0
    if found.period:
        run = ids[found.start : found.start + round(found.share * len(ids))]
        assert len(run) >= 2 * found.period
        assert all(a == b for a, b in zip(run, run[found.period :], strict=False))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8, unique=True), st.integers(2, 4))
def test_the_first_copy_of_a_text_is_new_and_the_others_are_not(unit: list[int], times: int) -> None:
    copies = len(unit) * (times - 1)
    assert new_ratios(unit * times, [3.0] * (len(unit) * times - 1)) == [3.0] * (len(unit) - 1) + [0.0] * copies
    assert new_ratios([1, 2, 1], [3.0, -2.0]) == [3.0, -2.0]  # what the reference expected more still counts
