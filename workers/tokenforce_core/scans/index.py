"""Lists of scans by owner, model and status, newest first.

A place is `<creation time in µs>:<id>`. An index is a ZSET of places with the score 0, so Redis orders them by text:
pages, ties and `since` are ranges of one key, and stay right when scans are created, moved or removed.

Keys: `tf:all`, `tf:owned:<owner>` · `…:<model digest>` of either · `…:<status>` of each of these four. A scan's row
names its four, so that the scripts that change its status (scripts.py) move it in the same step · `tf:expiring`
what to remove from them, by the time when the row expires.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from urllib.parse import quote

from redis import Redis

from tokenforce.wire.scans import ScanStatus
from tokenforce_core.runtime.text_redis import text_redis

EXPIRING = "tf:expiring"
_LAST_MICROSECOND = 10**18 - 1
_CHUNK = 500

REINDEX = """
local function reindex(place, indexes, from, to)
  for index in string.gmatch(indexes, '%S+') do
    if from == '' then redis.call('ZADD', index, 0, place) else redis.call('ZREM', index .. ':' .. from, place) end
    if to == '' then redis.call('ZREM', index, place) else redis.call('ZADD', index .. ':' .. to, 0, place) end
  end
end
"""
"""Lua. Moves a place from one status to another; `from` is '' for a new scan, `to` for a removed one."""

_FORGET = (
    REINDEX
    + """
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local status, place, indexes = string.match(member, '^(%S+) (%S+) (.+)$')
  reindex(place, indexes, status, '')
  redis.call('ZREM', KEYS[1], member)
  redis.call('UNLINK', 'tf:scan:' .. string.match(place, '^%d+:(.+)$'))
end
"""
)


def place_of(created_at: float, scan_id: str = "") -> str:
    """The place of a scan in its indexes. Impossible times count as the nearest possible one."""
    microseconds = round(min(max(created_at, 0.0) * 1e6, float(_LAST_MICROSECOND)))
    return f"{min(microseconds, _LAST_MICROSECOND):018d}:{scan_id}"


def indexes_of(owner: str, model: str) -> list[str]:
    """The keys of the indexes that a scan is in, with any status."""
    return [index_of(whose, which) for whose in (None, owner) for which in (None, model)]


def index_of(owner: str | None = None, model: str | None = None, status: ScanStatus | None = None) -> str:
    """The key of one index; None means any."""
    parts = ["tf:all" if owner is None else f"tf:owned:{quote(owner, safe='')}"]
    if model is not None:
        parts.append(hashlib.sha256(model.encode()).hexdigest()[:24])
    if status is not None:
        parts.append(status.value)
    return ":".join(parts)


class ScanIndex:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._redis = text_redis(connection)
        self._forget = self._redis.register_script(_FORGET)

    def places(
        self,
        limit: int,
        *,
        owner: str | None = None,
        model: str | None = None,
        statuses: Iterable[ScanStatus] = (),
        since: float | None = None,
        before: str | None = None,
    ) -> list[str]:
        """Up to `limit` places, newest first, strictly before a place and not created before `since`.

        One round trip: a scan that changes its status meanwhile is in exactly one of the indexes.
        """
        keys = [index_of(owner, model, status) for status in statuses] or [index_of(owner, model)]
        first = "+" if before is None else f"({before}"
        last = "-" if since is None else f"[{place_of(since)}"
        with self._redis.pipeline() as pipe:
            for key in keys:
                pipe.zrange(key, first, last, desc=True, bylex=True, offset=0, num=limit)
            found = pipe.execute()
        return sorted((place for places in found for place in places), reverse=True)[:limit]

    def count(self, owner: str | None = None) -> dict[ScanStatus, int]:
        """Number of stored scans by status."""
        with self._redis.pipeline() as pipe:
            for status in ScanStatus:
                pipe.zcard(index_of(owner, None, status))
            return dict(zip(ScanStatus, pipe.execute(), strict=True))

    def forget_expired(self) -> None:
        """Remove expired scans from the indexes. Idempotent; the end of every scan calls it."""
        self._forget(keys=[EXPIRING], args=[time.time(), _CHUNK])
