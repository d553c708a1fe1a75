"""API keys in Redis. The secret of a key is not among what is kept, only its SHA-256.

Keys: `tf:key:<id>` hash, one API key · `tf:keys` all ids by creation time. A revoked key stays: a list shows it.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from redis import Redis

from tokenforce.wire.keys import USUAL_LIMITS, KeyLimits, KeyLimitsRecord, Scope
from tokenforce_service.access.tokens import Token, digest, new_token

KEYS = "tf:keys"
USE_SECONDS = 60
"""`last_used_at` is written at most this often: it tells which keys are in use, and is no count of requests."""

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
        """How it came to its end: "was revoked" or "has expired"; None while it is good."""
        if self.revoked_at is not None:
            return "was revoked"
        return "has expired" if self.expires_at is not None and self.expires_at <= time.time() else None

    def proven_by(self, secret: str) -> bool:
        """Whether this is the key's secret; takes as long for a wrong one."""
        return hmac.compare_digest(digest(secret), self.digest)


class KeyStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
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
        """A new key and its token, which nobody can read again.

        Args:
            key_id: takes the place of a key whose making was interrupted before anybody saw its token.
        """
        token, now = new_token(key_id), time.time()
        own = KeyLimitsRecord(**limits.model_dump())
        row = KeyRow(
            token.key_id, owner, name, frozenset(scopes), now, expires_at, digest=digest(token.secret), limits=own
        )
        fields: dict[str, Any] = {
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
            pipe.hset(_key(row.id), mapping=cast(Any, fields))
            pipe.zadd(KEYS, {row.id: now})
            pipe.execute()
        return row, token

    def get(self, key_id: str) -> KeyRow | None:
        return _row(key_id, cast(Mapping[bytes, bytes], self._connection.hgetall(_key(key_id))))

    def page(self, limit: int, before: tuple[float, str] | None = None) -> list[KeyRow]:
        """Up to `limit` keys, newest first, strictly older than `before` (creation time, id)."""
        start = 0
        if before is not None:
            place = self._connection.zrevrank(KEYS, before[1])
            newer = self._connection.zcount(KEYS, before[0], "+inf")
            start = cast(int, place) + 1 if place is not None else newer
        ids = [i.decode() for i in cast(Iterable[bytes], self._connection.zrevrange(KEYS, start, start + limit - 1))]
        with self._connection.pipeline() as pipe:
            for key_id in ids:
                pipe.hgetall(_key(key_id))
            rows = [_row(key_id, raw) for key_id, raw in zip(ids, pipe.execute(), strict=True)]
        return [row for row in rows if row is not None]

    def revoke(self, key_id: str) -> bool:
        """End a key for good; the first time counts. False if there is no such key."""
        return bool(self._revoke(keys=[_key(key_id)], args=[time.time()]))

    def note_use(self, key_id: str) -> None:
        """Record that a key was used just now, unless that was recorded within the last minute."""
        self._note_use(keys=[_key(key_id)], args=[time.time(), USE_SECONDS])


def _row(key_id: str, raw: Mapping[bytes, bytes]) -> KeyRow | None:
    if not raw:
        return None
    fields = {name.decode(): value.decode() for name, value in raw.items()}
    times = {name: float(fields[name]) for name in ("expires_at", "last_used_at", "revoked_at") if name in fields}
    return KeyRow(
        id=key_id,
        owner=fields["owner"],
        name=fields["name"],
        scopes=frozenset(map(Scope, fields["scopes"].split())),
        created_at=float(fields["created_at"]),
        digest=fields["digest"],
        limits=KeyLimitsRecord.model_validate_json(fields.get("limits", "{}")),
        **times,
    )


def _key(key_id: str) -> str:
    return f"tf:key:{key_id}"
