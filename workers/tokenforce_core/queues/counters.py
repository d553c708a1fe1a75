"""Counters over all processes, in Redis because no process knows the totals.

Keys: `tf:counters` hash `<counter>` or `<counter>|<label>` → total · `tf:tokens:<minute>` forward tokens of one minute
· `tf:ended:<hour>` hash status → scans that ended in that hour.
"""

from __future__ import annotations

import time

from redis import Redis

from tokenforce.wire.scans import ScanStatus
from tokenforce_core.runtime.text_redis import text_redis

COUNTERS = "tf:counters"
SHARDS = "shards"
TOKENS = "tokens"
RETRIES = "retries"
ENDED = "ended"
RATE_MINUTES = 5
HOURS = 24

TALLY = """
local function count(name, number) redis.call('HINCRBY', 'tf:counters', name, number) end

local function produced(live, part, tokens, now)
  tokens = tonumber(tokens)
  local known = tonumber(string.match(redis.call('HGET', live, part) or '', '%d+ (%d+)') or 0)
  local new = tokens >= known and tokens - known or tokens
  if new == 0 then return end
  count('tokens', new)
  local minute = 'tf:tokens:' .. math.floor(now / 60)
  redis.call('INCRBY', minute, new)
  redis.call('EXPIRE', minute, 900)
end

local function ended(status, now)
  count('ended|' .. status, 1)
  local hour = 'tf:ended:' .. math.floor(now / 3600)
  redis.call('HINCRBY', hour, status, 1)
  redis.call('EXPIRE', hour, 90000)
end
"""
"""Lua. `produced`: a part that reports fewer tokens than before was restarted; its tokens count again."""


def count(connection: Redis, name: str, label: str | None = None, number: int = 1) -> None:
    """Add to a counter. `connection` may be a pipeline. The service lists the counters that `/metrics` shows."""
    connection.hincrby(COUNTERS, name if label is None else f"{name}|{label}", number)


def totals(connection: Redis) -> dict[tuple[str, str | None], int]:
    """Every counter by (name, label)."""
    found: dict[tuple[str, str | None], int] = {}
    for field, value in text_redis(connection).hgetall(COUNTERS).items():
        name, separator, label = field.partition("|")
        found[name, label if separator else None] = int(value)
    return found


def tokens_per_second(connection: Redis, now: float | None = None) -> float:
    """Forward tokens per second over the last `RATE_MINUTES`, the present minute included."""
    now = time.time() if now is None else now
    minute = int(now // 60)
    values = text_redis(connection).mget([f"tf:tokens:{minute - i}" for i in range(RATE_MINUTES)])
    return sum(int(value or 0) for value in values) / (60 * (RATE_MINUTES - 1) + now % 60 + 1e-3)


def ended_by_hour(connection: Redis, now: float | None = None) -> dict[int, dict[ScanStatus, int]]:
    """Start of an hour (seconds since the epoch) → how many scans ended in it, by status; the latest `HOURS`."""
    hour = int((time.time() if now is None else now) // 3600)
    hours = range(hour, hour - HOURS, -1)
    with text_redis(connection).pipeline(transaction=False) as pipe:
        for each in hours:
            pipe.hgetall(f"tf:ended:{each}")
        found = pipe.execute()
    return {
        each * 3600: {ScanStatus(status): int(number) for status, number in counts.items()}
        for each, counts in zip(hours, found, strict=True)
    }
