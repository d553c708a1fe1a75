"""What an owner registers with the service, each with secrets that rotate: upload hooks, and endpoints of webhooks.

Keys, for a prefix such as `tf:hook`: `<prefix>:<id>` hash · `<prefix>:<id>:secrets` as in rotating_secrets.py ·
`<prefix>s` all ids by time of registration · `<prefix>s-of:<owner>` those of one owner · `<prefix>-of-secret:<secret>`
the id, of those that are found by their secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis

from tokenforce_core.runtime.redis_pages import Place
from tokenforce_core.runtime.text_redis import text_redis
from tokenforce_service.access.rotating_secrets import RotatingSecrets
from tokenforce_service.http.rows import Row, Rows

MOST_OF_ONE_OWNER = 50

_CREATE = """
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[4]) then return 0 end
for _, secret in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('DEL', ARGV[5] .. secret) end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
redis.call('ZADD', KEYS[2], 'inf', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
if ARGV[6] == '1' then redis.call('SET', ARGV[5] .. ARGV[3], ARGV[1]) end
return 1
"""

_CHANGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
"""

_REMOVE = """
for _, secret in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('DEL', ARGV[2] .. secret) end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
"""


class Registrations:
    """Raises redis-py's exceptions when Redis cannot be used. Rows have the fields `owner` and `created_at`."""

    def __init__(self, connection: Redis, prefix: str) -> None:
        self._redis = text_redis(connection)
        self._prefix = prefix
        self._rows = Rows(connection, prefix)
        self._secrets = RotatingSecrets(connection)
        self._create = connection.register_script(_CREATE)
        self._change = connection.register_script(_CHANGE)
        self._remove = connection.register_script(_REMOVE)

    def create(self, row_id: str, at: float, fields: Row, secret: str, *, by_secret: bool = False) -> bool:
        """Store a row; False if its owner has `MOST_OF_ONE_OWNER` already.

        A row with this id is replaced: the request that made it was interrupted before anybody saw its secret.

        Args:
            at: time of registration in seconds since the epoch.
            by_secret: the row can be found by its secret.
        """
        stored = {**fields, "created_at": repr(at)}
        flat = [part for pair in stored.items() for part in pair]
        args: list[str | float] = [row_id, at, secret, MOST_OF_ONE_OWNER, self._by_secret(""), int(by_secret), *flat]
        return bool(self._create(keys=self._keys(row_id, fields["owner"]), args=args))

    def get(self, row_id: str) -> Row | None:
        return self._rows.get(row_id)

    def id_of_secret(self, secret: str) -> str | None:
        return self._redis.get(self._by_secret(secret))

    def page(self, owner: str | None, limit: int, before: Place | None = None) -> dict[str, Row]:
        """Up to `limit` rows of an owner or, for None, of all; newest first, strictly older than `before`."""
        return self._rows.page(self._list_of(owner), limit, before)

    def of(self, owner: str) -> dict[str, Row]:
        """All rows of an owner."""
        return self._rows.all(self._list_of(owner))

    def change(self, row_id: str, fields: Mapping[str, str]) -> bool:
        """Set these fields; False if there is no such row (any more)."""
        return bool(
            self._change(keys=[self._rows.key(row_id)], args=[part for pair in fields.items() for part in pair])
        )

    def rotate(self, row_id: str, secret: str, *, by_secret: bool = False) -> float | None:
        """Make `secret` the current one. Returns the time until which the one before it counts, None without a row."""
        index = (self._by_secret(""), row_id) if by_secret else None
        return self._secrets.rotate(self._rows.key(row_id), self._rows.key(row_id, "secrets"), secret, index)

    def secrets(self, row_id: str) -> list[str]:
        """The secrets that count now, the newest first."""
        return self._secrets.counting(self._rows.key(row_id, "secrets"))

    def remove(self, row_id: str, owner: str, pipe: Any = None) -> None:
        """Delete a row with its secrets, at once or in the MULTI of `pipe`."""
        self._remove(keys=self._keys(row_id, owner), args=[row_id, self._by_secret("")], client=pipe)

    def _keys(self, row_id: str, owner: str) -> list[str]:
        return [self._rows.key(row_id), self._rows.key(row_id, "secrets"), self._list_of(owner), self._list_of(None)]

    def _list_of(self, owner: str | None) -> str:
        return f"{self._prefix}s" if owner is None else f"{self._prefix}s-of:{owner}"

    def _by_secret(self, secret: str) -> str:
        return f"{self._prefix}-of-secret:{secret}"
