"""Token buckets in Redis, shared by all gateways: GCRA, the generic cell rate algorithm (ITU-T I.371).

A bucket of `per_minute` tokens fills up evenly in a minute. One time is stored: when the bucket will be full again.

Keys: `tf:rate:<name>` this time in microseconds; the key expires then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from redis import Redis

MINUTE = 60_000_000
"""Microseconds."""

CLOCK = "local time = redis.call('TIME') local now = time[1] * 1000000 + time[2]\n"
"""The clock of the server, because the clocks of several gateways differ."""

TAKE = """
-- pcall: a server whose disk or memory is full still answers reads, so counting them must not fail
local interval, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local whole = interval * capacity
local full_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
full_at = math.min(full_at, now + whole)  -- a clock that is set back must not close the bucket for long
local left = whole - (full_at - now)
if left < interval then return {0, 0, full_at - now, interval - left} end
local given = math.min(tonumber(ARGV[3]), math.floor(left / interval))
full_at = full_at + given * interval
redis.pcall('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
return {given, math.floor((left - given * interval) / interval), full_at - now, 0}
"""


@dataclass(frozen=True)
class Standing:
    """A bucket after a request for tokens. Times are in whole seconds, rounded up."""

    given: int
    limit: int
    remaining: int
    full_in: int
    retry_after: int
    """Seconds until the next token; 0 if one was given."""

    @property
    def allowed(self) -> bool:
        return self.given > 0


class TokenBuckets:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._take = connection.register_script(CLOCK + TAKE)

    def take(self, name: str, per_minute: int, tokens: int = 1) -> Standing:
        """Take up to `tokens` tokens from the bucket `name`."""
        args = [max(1, MINUTE // per_minute), per_minute, tokens]
        found: Any = self._take(keys=[f"tf:rate:{name}"], args=args)
        given, remaining, full_in, retry_after = found
        seconds = [math.ceil(micros / 1_000_000) for micros in (full_in, retry_after)]
        return Standing(given, per_minute, remaining, seconds[0], seconds[1])
