"""Follows the event streams in Redis for many callers.

Each follower has its own blocking XREAD, on its own connection, in the event loop. So nothing is shared that could be
lost or grow: the position of a caller is its last id, events for a slow caller wait in Redis, and a caller that
disconnects cancels its own read. The price is one connection to Redis for each open stream, which is why a key may hold
only so many streams open.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tokenforce.wire.problems import ErrorCode
from tokenforce_core.scans.events import ScanChange, events_of_scan, scan_change
from tokenforce_core.scans.row import ROW_FIELDS, ScanRow, scan_key, scan_row
from tokenforce_service.refusals import Refusal

log = logging.getLogger(__name__)

BLOCK_SECONDS = 1.0
"""How long one read waits for an event."""
EVENTS_PER_READ = 50
"""Entries read at a time: so many are in memory for a slow caller."""
FROM_THE_START = "0-0"
_RETRY_AFTER = "30"
Allowed = Callable[[], Awaitable[bool]]
"""Whether the caller may still follow the stream. Called before each read, so at least every `BLOCK_SECONDS`."""
_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


def position(event_id: str) -> tuple[int, int]:
    """The position of an event in its stream. Raises ValueError if this is not an id of a Redis stream."""
    given = _ID.fullmatch(event_id)
    found = (int(given[1]), int(given[2])) if given else (-1, -1)
    if not all(0 <= part < 1 << 64 for part in found):
        raise ValueError(event_id)
    return found


def change_of_end(row: ScanRow) -> ScanChange:
    """The event of the end of a scan, as it was in its stream before that was deleted."""
    ended = row.finished_at or row.created_at
    return ScanChange(row.last_event or f"{int(ended * 1000)}-0", row.id, "status", ended, row)


class EventStreams:
    """The open streams of one gateway process.

    Args:
        limit: streams that one key may hold open at a time.
    """

    def __init__(self, redis_url: str, limit: int) -> None:
        self._redis = Redis.from_url(
            redis_url, socket_connect_timeout=2, socket_timeout=BLOCK_SECONDS + 5, decode_responses=True
        )
        self._limit = limit
        self._open: Counter[str] = Counter()
        self._closing = False

    def end(self) -> None:
        """End every stream within `BLOCK_SECONDS`. Clients connect again, to another process."""
        self._closing = True

    async def close(self) -> None:
        self.end()
        await self._redis.aclose()

    @contextmanager
    def slot(self, key_id: str) -> Iterator[None]:
        """Count a stream of this key as open.

        Raises:
            Refusal: `too_many_streams`.
        """
        if self._open[key_id] >= self._limit:
            detail = f"This key has {self._limit} event streams open, which is the limit; close one, or poll."
            raise Refusal(ErrorCode.too_many_streams, detail, headers={"Retry-After": _RETRY_AFTER})
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            self._open += Counter()  # forgets keys with none

    async def newest(self, stream: str) -> str:
        """The id of the last event so far."""
        found: Any = await self._redis.xrevrange(stream, count=1)
        return found[0][0] if found else FROM_THE_START

    async def of_scan(self, row: ScanRow, after: str, allowed: Allowed) -> AsyncIterator[ScanChange]:
        """The events of a scan after one of them, until the scan ends."""
        current: ScanRow | None = row
        while current is not None and await self._goes_on(allowed):
            changes = await self._read(events_of_scan(row.id), after, wait=not current.status.final)
            if changes is None:
                return
            for change in changes:
                yield change
                after = change.id
                if change.kind == "status" and change.state.status.final:
                    return
            if not changes and current.status.final:
                yield change_of_end(current)  # its stream has been deleted
                return
            if not changes:
                current = await self._row(row.id)

    async def of_all(self, stream: str, after: str, allowed: Allowed) -> AsyncIterator[ScanChange]:
        """The events of an owner's stream after one of them, as long as the caller may follow it."""
        while await self._goes_on(allowed):
            changes = await self._read(stream, after, wait=True)
            if changes is None:
                return
            for change in changes:
                yield change
                after = change.id

    async def _goes_on(self, allowed: Allowed) -> bool:
        if self._closing:
            return False
        try:
            return await allowed()
        except (RedisConnectionError, RedisTimeoutError) as error:
            _went_away(error)
            return False

    async def _read(self, stream: str, after: str, *, wait: bool) -> list[ScanChange] | None:
        """The next changes; None if Redis went away."""
        block = int(BLOCK_SECONDS * 1000) if wait else None
        try:
            reply: Any = await self._redis.xread({stream: after}, count=EVENTS_PER_READ, block=block)
        except (RedisConnectionError, RedisTimeoutError) as error:
            _went_away(error)
            return None
        return [scan_change(*entry) for _, entries in reply for entry in entries]

    async def _row(self, scan_id: str) -> ScanRow | None:
        """The scan as it is now; None if it is gone, or Redis went away."""
        try:
            async with self._redis.pipeline() as pipe:
                pipe.hmget(scan_key(scan_id), ROW_FIELDS)
                pipe.hgetall(scan_key(scan_id, "live"))
                return scan_row(scan_id, *(await pipe.execute()))
        except (RedisConnectionError, RedisTimeoutError) as error:
            _went_away(error)
            return None


def _went_away(error: Exception) -> None:
    log.warning("Redis cannot be reached; an event stream ends, and its client will connect again: %s", error)
