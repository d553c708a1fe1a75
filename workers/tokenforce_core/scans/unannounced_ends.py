"""Scans that have ended and whose webhook events have not been emitted yet.

`Store.settle` moves a scan from the active ones to these in one MULTI, so it is always in one of the two. The deliverer
removes it once the deliveries are stored. In between anything may happen twice.

Key: `tf:unannounced` ids by the time of the end.
"""

from __future__ import annotations

import time
from typing import Any

from redis import Redis

from tokenforce_core.runtime.text_redis import text_redis

UNANNOUNCED = "tf:unannounced"


def note_end(pipe: Any, scan_id: str, retention_seconds: float) -> None:
    """Add a scan, within a MULTI. Removes ends that were not announced within the retention time."""
    now = time.time()
    pipe.zadd(UNANNOUNCED, {scan_id: now})
    pipe.zremrangebyscore(UNANNOUNCED, 0, now - retention_seconds)


def unannounced_ends(connection: Redis, limit: int) -> list[str]:
    """Ids of scans, in the order in which they ended."""
    return text_redis(connection).zrange(UNANNOUNCED, 0, limit - 1)


def note_announced(connection: Redis, scan_id: str) -> None:
    connection.zrem(UNANNOUNCED, scan_id)
