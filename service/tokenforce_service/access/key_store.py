"""API keys in Redis. The secret of a key is not stored, only its SHA-256.

Keys: `tf:key:<id>` hash, one API key · `tf:keys` all ids by creation time. A revoked key stays, so that lists show it.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from tokenforce.wire.keys import USUAL_LIMITS, KeyLimits, KeyLimitsRecord, Scope
from tokenforce_core.runtime.redis_pages import Place
from tokenforce_service.access.tokens import Token, digest, new_token
from tokenforce_service.http.rows import Row, Rows

KEYS = "tf:keys"
USE_SECONDS = 60
"""`last_used_at` is written at most this often: it shows which keys are in use and does not count requests."""

_REVOKE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSETNX', KEYS[1], 'revoked_at', ARGV[1])
return 1
"""

_NOTE_USE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local last = redis.call('HGET', KEYS[1], 'last_used_at')
if last and ARGV[1] - last < tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'last_used_at', ARGV[1])
return 1
"""


@dataclass(frozen=True)
class KeyRow:
    """An API key as stored. Times are seconds since the epoch."""

    id: str
    owner: str
    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None
    digest: str = field(default="", repr=False)
    limits: KeyLimitsRecord = USUAL_LIMITS

    @property
    def end(self) -> str | None:
        """How it ended: "was revoked" or "has expired"; None while it is valid."""
        if self.revoked_at is not None:
            return "was revoked"
        return "has expired" if self.expires_at is not None and self.expires_at <= time.time() else None

    def proven_by(self, secret: str) -> bool:
        """Whether this is the key's secret. Takes as long for a wrong one."""
        return hmac.compare_digest(digest(secret), self.digest)


class KeyStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._rows = Rows(connection, "tf:key")
        self._revoke = connection.register_script(_REVOKE)
        self._note_use = connection.register_script(_NOTE_USE)

    def create(
        self,
        owner: str,
        scopes: Iterable[Scope],
        name: str = "",
        expires_at: float | None = None,
        key_id: str | None = None,
        limits: KeyLimits = USUAL_LIMITS,
    ) -> tuple[KeyRow, Token]:
        """Create a key. Returns it with its token, which is not stored.

        Args:
            key_id: of a key to replace: the request that made it was interrupted before anybody saw its token.
        """
        token, now = new_token(key_id), time.time()
        own = KeyLimitsRecord(**limits.model_dump())
        row = KeyRow(
            token.key_id, owner, name, frozenset(scopes), now, expires_at, digest=digest(token.secret), limits=own
        )
        fields: dict[Any, Any] = {
            "owner": owner,
            "name": name,
            "scopes": " ".join(sorted(row.scopes)),
            "created_at": now,
            "digest": row.digest,
            "limits": own.model_dump_json(exclude_none=True),
        }
        if expires_at is not None:
            fields["expires_at"] = expires_at
        with self._connection.pipeline() as pipe:
            pipe.hset(self._rows.key(row.id), mapping=fields)
            pipe.zadd(KEYS, {row.id: now})
            pipe.execute()
        return row, token

    def get(self, key_id: str) -> KeyRow | None:
        row = self._rows.get(key_id)
        return None if row is None else _key(key_id, row)

    def page(self, limit: int, before: Place | None = None) -> list[KeyRow]:
        """Up to `limit` keys, newest first, strictly older than `before`."""
        return [_key(*item) for item in self._rows.page(KEYS, limit, before).items()]

    def revoke(self, key_id: str) -> bool:
        """End a key for good; the time of the first call counts. False if there is no such key."""
        return bool(self._revoke(keys=[self._rows.key(key_id)], args=[time.time()]))

    def note_use(self, key_id: str) -> None:
        """Record that a key was used just now, unless that was recorded within the last minute."""
        self._note_use(keys=[self._rows.key(key_id)], args=[time.time(), USE_SECONDS])


def _key(key_id: str, row: Row) -> KeyRow:
    times = {name: float(row[name]) for name in ("expires_at", "last_used_at", "revoked_at") if name in row}
    return KeyRow(
        id=key_id,
        owner=row["owner"],
        name=row["name"],
        scopes=frozenset(map(Scope, row["scopes"].split())),
        created_at=float(row["created_at"]),
        digest=row["digest"],
        limits=KeyLimitsRecord.model_validate_json(row["limits"]),
        **times,
    )
