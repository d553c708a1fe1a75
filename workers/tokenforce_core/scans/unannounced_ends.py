"""Scans that have ended and whose owners have not been told yet: what callbacks are made from.

A scan is put here in the MULTI that takes it out of the active ones (`Store.settle`), so that it is always in one of
the two. Who tells of its end takes it out when that is stored elsewhere. In between anything may happen twice.

Key: `tf:untold` ids by the time of the end.
"""

from __future__ import annotations

import time
from typing import Any

from redis import Redis

from tokenforce_core.runtime.text_redis import text_redis

UNTOLD = "tf:untold"


def note_end(pipe: Any, scan_id: str, retention_seconds: float) -> None:
    """Put it into a MULTI. What nobody asked for in all the time that a scan is kept is forgotten."""
    now = time.time()
    pipe.zadd(UNTOLD, {scan_id: now})
    pipe.zremrangebyscore(UNTOLD, 0, now - retention_seconds)


def untold_ends(connection: Redis, limit: int) -> list[str]:
    """Ids, in the order in which they ended."""
    return text_redis(connection).zrange(UNTOLD, 0, limit - 1)


def note_told(connection: Redis, scan_id: str) -> None:
    connection.zrem(UNTOLD, scan_id)
