"""Which vocabulary ids are forced, and how they are broken into shards.

Every forceable id is in exactly one shard per context; ids that make no sense to force (special
tokens, rows that only pad the embedding matrix) are listed with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tokenforce.wire.report import SkippedIds

NOT_ASKED_FOR = "not asked for"
"""Why an id that could be forced was not: the request names others."""


@dataclass(frozen=True)
class Shard:
    """A run of forceable positions [start, stop) under one context."""

    index: int
    context: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def only_asked_for(skipped: Iterable[SkippedIds]) -> bool:
    """Whether ids were left out because the request names others."""
    return any(group.reason == NOT_ASKED_FOR for group in skipped)


def skip(reason: str, ids: Iterable[int]) -> SkippedIds:
    """Fold ids into inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for token_id in sorted(set(ids)):
        if ranges and token_id == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], token_id)
        else:
            ranges.append((token_id, token_id))
    return SkippedIds(reason=reason, ranges=ranges)


def forceable(vocabulary_size: int, skipped: Sequence[SkippedIds]) -> list[int]:
    """The ids in [0, vocabulary_size) that no range skips, ascending."""
    left_out = {i for group in skipped for first, last in group.ranges for i in range(first, last + 1)}
    return [i for i in range(vocabulary_size) if i not in left_out]


def shards(forceable_count: int, contexts: Sequence[int], shard_size: int) -> Iterator[Shard]:
    """Break the vocabulary in each of these contexts into shards of at most `shard_size`, context by context."""
    index = 0
    for context in contexts:
        for start in range(0, forceable_count, shard_size):
            yield Shard(index, context, start, min(start + shard_size, forceable_count))
            index += 1
