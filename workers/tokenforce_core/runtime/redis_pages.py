"""Pages of a list in Redis that is a sorted set of ids by time of creation."""

from __future__ import annotations

from typing import TypeAlias

from tokenforce_core.runtime.text_redis import TextRedis

Place: TypeAlias = tuple[float, str]
"""Where a row stands in a list: time of creation in seconds since the epoch, id."""


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
