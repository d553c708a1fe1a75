"""The names of rows in Redis, and pages of their lists: sorted sets of ids by time of creation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from tokenforce_core.runtime.text_redis import TextRedis

Place: TypeAlias = tuple[float, str]
"""Where a row stands in a list: time of creation in seconds since the epoch, id."""


def row_key(prefix: str, row_id: str, part: str = "") -> str:
    """The Redis key of a row, or of a part beside it."""
    return f"{prefix}:{row_id}" + (f":{part}" if part else "")


def places(connection: TextRedis, index: str, limit: int, before: Place | None = None) -> list[Place]:
    """Up to `limit` places of a list, newest first, strictly older than `before`.

    What has been removed since `before` was read shifts nothing. Several rows may be as old as `before`.
    """
    start, ties = 0, 0
    if before is not None:
        start = connection.zcount(index, f"({before[0]!r}", "+inf")
        ties = connection.zcount(index, before[0], before[0])
    found: list[tuple[str, float]] = connection.zrevrange(index, start, start + ties + limit - 1, withscores=True)
    return [(at, row_id) for row_id, at in found if before is None or (at, row_id) < before][:limit]


def older_ids(connection: TextRedis, index: str, size: int, before: Place | None = None) -> Iterator[list[str]]:
    """The ids of a list, newest first, strictly older than `before`, in chunks of `size` read one by one."""
    while older := places(connection, index, size, before):
        yield [row_id for _, row_id in older]
        before = older[-1]
