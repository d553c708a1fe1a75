"""A Redis connection whose answers are text, for our own keys. RQ needs one whose answers are bytes, beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from redis import ConnectionPool, Redis

_POOLS: WeakKeyDictionary[ConnectionPool, ConnectionPool] = WeakKeyDictionary()
"""Pool of a connection → pool of text connections to the same server."""


class TextRedis(Redis):
    """Redis with `decode_responses`. redis-py's annotations allow bytes everywhere; these say what the answers are."""

    if TYPE_CHECKING:

        def get(self, name: str) -> str | None: ...  # type: ignore[override]
        def getdel(self, name: str) -> str | None: ...  # type: ignore[override]
        def mget(self, keys: list[str]) -> list[str | None]: ...  # type: ignore[override]
        def hget(self, name: str, key: str) -> str | None: ...  # type: ignore[override]
        def hmget(self, name: str, keys: list[str]) -> list[str | None]: ...  # type: ignore[override]
        def hgetall(self, name: str) -> dict[str, str]: ...  # type: ignore[override]
        def hkeys(self, name: str) -> list[str]: ...  # type: ignore[override]
        def hvals(self, name: str) -> list[str]: ...  # type: ignore[override]
        def hset(  # type: ignore[override]
            self,
            name: str,
            key: str | None = None,
            value: str | float | None = None,
            mapping: Mapping[str, str | float] | None = None,
        ) -> int: ...
        def smembers(self, name: str) -> set[str]: ...  # type: ignore[override]
        def zrange(self, name: str, start: int, end: int) -> list[str]: ...  # type: ignore[override]
        def zrevrange(  # type: ignore[override]
            self, name: str, start: int, end: int, withscores: bool = False
        ) -> Any: ...
        def zrangebyscore(  # type: ignore[override]
            self, name: str, min: float | str, max: float | str, start: int | None = None, num: int | None = None
        ) -> list[str]: ...
        def zrevrangebyscore(self, name: str, max: float | str, min: float | str) -> list[str]: ...  # type: ignore[override]


def text_redis(connection: Redis) -> TextRedis:
    """A text connection to the server of `connection`; all of one pool share another pool."""
    if isinstance(connection, TextRedis):
        return connection
    pool = connection.connection_pool
    if pool not in _POOLS:
        # Bytes that are not UTF-8 become half a surrogate pair, which no parser of ours accepts. So one damaged record
        # is one bad record; by default redis-py raises for all that it has read together.
        options: dict[str, Any] = {
            **pool.connection_kwargs,
            "decode_responses": True,
            "encoding_errors": "surrogateescape",
        }
        _POOLS[pool] = type(pool)(
            connection_class=pool.connection_class, max_connections=pool.max_connections, **options
        )
    return TextRedis(connection_pool=_POOLS[pool])
