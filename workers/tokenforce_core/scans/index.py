"""Which scans there are: by owner, model and status, the newest first.

A place is `<creation time in µs>:<id>`. An index is a ZSET of places that all have the score 0, so that Redis orders
them by text: pages, ties and `since` are ranges of one key, whatever has been created, moved or removed meanwhile.

Keys: `tf:all`, `tf:owned:<owner>` · `…:<model digest>` of either · `…:<status>` of each of these four. A scan's row
names its four, so that the scripts that change its status (scan_scripts.py) move it in the same step · `tf:expiring`
what to remove from them, by the time when the row expires.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, cast
from urllib.parse import quote

from redis import Redis

from tokenforce.wire.keys import LOCAL_OWNER
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.runtime.redis_values import text
from tokenforce_core.scans.events import events_of_owner

log = logging.getLogger(__name__)

EXPIRING = "tf:expiring"
BEFORE_INDEXES = "tf:scans"
"""The ids by creation time that releases before the indexes kept."""
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
"""Lua: from one status to another; `from` is '' for a new scan, `to` for one that is gone."""

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

_ADOPT = (
    REINDEX
    + """
redis.call('ZREM', KEYS[2], ARGV[1])
local status = redis.call('HGET', KEYS[1], 'status')
if not status or ARGV[2] == '' or redis.call('HEXISTS', KEYS[1], 'place') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'place', ARGV[2], 'indexes', ARGV[3], 'events', ARGV[5])
reindex(ARGV[2], ARGV[3], '', status)
local left = redis.call('TTL', KEYS[1])
if left >= 0 then redis.call('ZADD', KEYS[3], ARGV[4] + left, status .. ' ' .. ARGV[2] .. ' ' .. ARGV[3]) end
return 1
"""
)


def place_of(created_at: float, scan_id: str = "") -> str:
    """Where a scan stands in its indexes. Times outside of what a clock can say count as the nearest that it can."""
    microseconds = round(min(max(created_at, 0.0) * 1e6, float(_LAST_MICROSECOND)))
    return f"{min(microseconds, _LAST_MICROSECOND):018d}:{scan_id}"


def indexes_of(owner: str, model: str) -> list[str]:
    """The keys of the indexes that a scan is in whatever its status."""
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
        self._connection = connection
        self._forget = connection.register_script(_FORGET)
        self._adopt = connection.register_script(_ADOPT)

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
        """Up to `limit` places, the newest first, strictly before a place and not created before `since`.

        Takes one round trip, in which a scan that changes its status is in exactly one of the indexes.
        """
        keys = [index_of(owner, model, status) for status in statuses] or [index_of(owner, model)]
        first = "+" if before is None else f"({before}"
        last = "-" if since is None else f"[{place_of(since)}"
        with self._connection.pipeline() as pipe:
            for key in keys:
                pipe.zrange(key, cast(Any, first), cast(Any, last), desc=True, bylex=True, offset=0, num=limit)
            found = pipe.execute()
        return sorted((text(place) for places in found for place in places), reverse=True)[:limit]

    def count(self, owner: str | None = None) -> dict[ScanStatus, int]:
        """How many scans are stored, by status."""
        with self._connection.pipeline() as pipe:
            for status in ScanStatus:
                pipe.zcard(index_of(owner, None, status))
            return dict(zip(ScanStatus, pipe.execute(), strict=True))

    def forget_expired(self) -> None:
        """Take scans whose retention is over out of the indexes. Idempotent; every end of a scan calls it."""
        self._forget(keys=[EXPIRING], args=[time.time(), _CHUNK])

    def adopt_old_rows(self) -> int:
        """Index the scans that releases before the indexes stored; returns how many. Idempotent."""
        adopted = 0
        while ids := cast(Sequence[bytes], self._connection.zrange(BEFORE_INDEXES, 0, _CHUNK - 1)):
            for scan_id in map(text, ids):
                row = f"tf:scan:{scan_id}"
                values = cast("Sequence[bytes | None]", self._connection.hmget(row, ["request", "created_at", "owner"]))
                try:
                    place, indexes, events = _old_place(scan_id, *values)
                except ValueError as error:  # pydantic's too; the reaper ends the scan if it still runs
                    log.error("scan %s cannot be read and is listed no more: %s", scan_id, type(error).__name__)
                    place = indexes = events = ""
                keys = [row, BEFORE_INDEXES, EXPIRING]
                args: list[str | float] = [scan_id, place, indexes, time.time(), events]
                adopted += int(cast(int, self._adopt(keys=keys, args=args)))
        return adopted


def _old_place(
    scan_id: str, request: bytes | None, created_at: bytes | None, owner: bytes | None
) -> tuple[str, str, str]:
    """Place, indexes and events of a row; empty ones if it has expired."""
    if request is None or created_at is None:
        return "", "", ""
    whose = LOCAL_OWNER if owner is None else text(owner)
    indexes = indexes_of(whose, ScanRequest.model_validate_json(request).model)
    return place_of(float(created_at), scan_id), " ".join(indexes), events_of_owner(whose)
