"""Rows in Redis and the lists of them: hashes, whose ids stand in sorted sets by time of creation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from redis import Redis

from tokenforce_core.runtime.redis_pages import Place, places
from tokenforce_core.runtime.text_redis import text_redis

Row: TypeAlias = Mapping[str, str]


class Rows:
    """The hashes `<prefix>:<id>`. Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis, prefix: str) -> None:
        self._redis = text_redis(connection)
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
            older = places(self._redis, index, limit - len(found), before)
            if not older:
                break
            found |= self._read(row_id for _, row_id in older)
            before = older[-1]  # some have just been removed
        return found

    def all(self, index: str) -> dict[str, Row]:
        """All rows of a list by id, oldest first."""
        return self._read(self._redis.zrange(index, 0, -1))

    def _read(self, row_ids: Iterable[str]) -> dict[str, Row]:
        wanted = list(row_ids)
        with self._redis.pipeline() as pipe:
            for row_id in wanted:
                pipe.hgetall(self.key(row_id))
            rows: list[Row] = pipe.execute()
        return {row_id: row for row_id, row in zip(wanted, rows, strict=True) if row}
