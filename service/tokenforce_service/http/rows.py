"""Rows in Redis and the lists of them: hashes, whose ids stand in sorted sets by time of creation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TypeAlias

from redis import Redis

from tokenforce_core.runtime.redis_pages import Place, older_ids, row_key
from tokenforce_core.runtime.text_redis import text_redis

Row: TypeAlias = Mapping[str, str]


class Rows:
    """The hashes `<prefix>:<id>`. Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis, prefix: str) -> None:
        self._redis = text_redis(connection)
        self._prefix = prefix

    def key(self, row_id: str, part: str = "") -> str:
        """The Redis key of a row, or of something that belongs to it."""
        return row_key(self._prefix, row_id, part)

    def get(self, row_id: str) -> Row | None:
        return self._read([row_id]).get(row_id)

    def page(self, index: str, limit: int, before: Place | None = None) -> dict[str, Row]:
        """Up to `limit` rows of a list by id, newest first, strictly older than `before`."""
        # More than one chunk is read only if some rows have just been removed.
        chunks = older_ids(self._redis, index, limit, before)
        return dict(islice((item for ids in chunks for item in self._read(ids).items()), limit))

    def all(self, index: str) -> dict[str, Row]:
        """All rows of a list by id, oldest first."""
        return self._read(self._redis.zrange(index, 0, -1))

    def _read(self, row_ids: Sequence[str]) -> dict[str, Row]:
        with self._redis.pipeline() as pipe:
            for row_id in row_ids:
                pipe.hgetall(self.key(row_id))
            rows: list[Row] = pipe.execute()
        return {row_id: row for row_id, row in zip(row_ids, rows, strict=True) if row}
