"""Shards cover every forceable id exactly once; what is skipped is listed."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tokenforce_core.plan.vocabulary import NOT_ASKED_FOR, forceable, only_asked_for, shards, skip

CONTEXTS = st.lists(st.integers(0, 5), max_size=3, unique=True)
"""Places of contexts; not every scan forces the vocabulary in the first one, or in any."""


@given(st.integers(1, 400), st.sets(st.integers(0, 500)), CONTEXTS, st.integers(1, 150))
def test_shards_partition_the_vocabulary(size: int, special: set[int], contexts: list[int], shard_size: int) -> None:
    skipped = [skip("special token", special)]
    ids = forceable(size, skipped)
    covered = [(s.context, i) for s in shards(len(ids), contexts, shard_size) for i in ids[s.start : s.stop]]
    assert len(covered) == len(set(covered))
    assert set(covered) == {(c, i) for c in contexts for i in set(range(size)) - special}


@given(st.integers(0, 400), CONTEXTS, st.integers(1, 150))
def test_shards_are_numbered_and_bounded(count: int, contexts: list[int], shard_size: int) -> None:
    found = list(shards(count, contexts, shard_size))
    assert [s.index for s in found] == list(range(len(found)))
    assert all(0 < len(s) <= shard_size for s in found)


@given(st.sets(st.integers(0, 300)))
def test_ranges_hold_exactly_the_skipped_ids(ids: set[int]) -> None:
    ranges = skip("special token", ids).ranges
    assert {i for first, last in ranges for i in range(first, last + 1)} == ids
    assert all(b[0] > a[1] + 1 for a, b in pairwise(ranges))  # folded as far as possible


def test_ids_that_were_not_asked_for_are_told_from_those_that_cannot_be_forced() -> None:
    special, rest = skip("special token", [0, 1]), skip(NOT_ASKED_FOR, [5, 6])
    assert only_asked_for([special, rest])
    assert not only_asked_for([special])
