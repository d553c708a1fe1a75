"""Rows in Redis and the lists of them: hashes, whose ids stand in sorted sets by time of creation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from redis import Redis

Place: TypeAlias = tuple[float, str]
"""Where a row stands in a list: time of creation in seconds since the epoch, id."""
Row: TypeAlias = Mapping[str, str]


def places(connection: Redis, index: str, limit: int, before: Place | None = None) -> list[Place]:
    """Up to `limit` places of a list, newest first, strictly older than `before`.

    What has been removed since `before` was read shifts nothing. Several rows may be as old as `before`.
    """
    start, ties = 0, 0
    if before is not None:
        start = connection.zcount(index, f"({before[0]!r}", "+inf")
        ties = connection.zcount(index, before[0], before[0])
    raw: Any = connection.zrevrange(index, start, start + ties + limit - 1, withscores=True)
    found = [(at, row_id.decode()) for row_id, at in raw]
    return [place for place in found if before is None or place < before][:limit]


class Rows:
    """The hashes `<prefix>:<id>`. Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    def key(self, row_id: str, part: str = "") -> str:
        """The Redis key of a row, or of something that belongs to it."""
        return f"{self._prefix}:{row_id}" + (f":{part}" if part else "")

    def get(self, row_id: str) -> Row | None:
        return self._read([row_id]).get(row_id)

    def page(self, index: str, limit: int, before: Place | None = None) -> dict[str, Row]:
        """Up to `limit` rows of a list by id, newest first, strictly older than `before`."""
        found: dict[str, Row] = {}
        while len(found) < limit:
            older = places(self._connection, index, limit - len(found), before)
            if not older:
                break
            found |= self._read(row_id for _, row_id in older)
            before = older[-1]  # some have just been removed
        return found

    def all(self, index: str) -> dict[str, Row]:
        """All rows of a list by id, oldest first."""
        raw: Any = self._connection.zrange(index, 0, -1)
        return self._read(row_id.decode() for row_id in raw)

    def _read(self, row_ids: Iterable[str]) -> dict[str, Row]:
        wanted = list(row_ids)
        with self._connection.pipeline() as pipe:
            for row_id in wanted:
                pipe.hgetall(self.key(row_id))
            rows: list[Mapping[bytes, bytes]] = pipe.execute()
        return {
            row_id: {name.decode(): value.decode() for name, value in row.items()}
            for row_id, row in zip(wanted, rows, strict=True)
            if row
        }
