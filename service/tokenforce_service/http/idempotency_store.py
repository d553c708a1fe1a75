"""Answers to requests that carried an `Idempotency-Key`, in Redis.

Keys: `tf:idempotency:<SHA-256 of owner and key>` hash, kept for a day from its first use: `digest` of the request,
`seed` for the ids of what it makes, `answer` once there is one; while the request runs, `holder` and `until`
(milliseconds).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis

from tokenforce_core.runtime.text_redis import text_redis

KEEP_SECONDS = 86400
LEASE_SECONDS = 10
"""A process that dies while it carries out a request blocks the next attempt for this long. A process that is only slow
loses nothing: the next attempt makes the same thing with the same id."""

# The first caller writes the digest and holds the lease.
_BEGIN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local digest, seed, answer, held = unpack(redis.call('HMGET', KEYS[1], 'digest', 'seed', 'answer', 'until'))
if not digest then
  seed = ARGV[2]
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'seed', seed)
  redis.call('EXPIRE', KEYS[1], ARGV[5])
elseif digest ~= ARGV[1] then
  return {'other', ''}
elseif answer then
  return {'answered', answer}
elseif held and tonumber(held) > now then
  return {'in flight', math.ceil((held - now) / 1000)}
end
redis.call('HSET', KEYS[1], 'holder', ARGV[3], 'until', string.format('%.0f', now + ARGV[4] * 1000))
return {'begun', seed}
"""

_END = """
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'holder', 'until')
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'answer', ARGV[2]) end
return 1
"""


@dataclass(frozen=True)
class Lease:
    """The right to carry out a request. `seed` is the same for every attempt at it, 16 hex digits."""

    key: str
    holder: str
    seed: str


@dataclass(frozen=True)
class StoredAnswer:
    """The answer to the first request. `secret`: its body was not stored."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    secret: bool = False


@dataclass(frozen=True)
class InFlight:
    """The request is being carried out; after `seconds` its process counts as dead."""

    seconds: int


class DifferentRequest(Exception):
    """The key was used for another request."""


class IdempotencyStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        redis = text_redis(connection)
        self._begin = redis.register_script(_BEGIN)
        self._end = redis.register_script(_END)

    def begin(self, owner: str, key: str, request_digest: str) -> Lease | StoredAnswer | InFlight:
        """Start a request, unless it is running or has been answered.

        Raises:
            DifferentRequest: the owner has used this key for a request with another digest.
        """
        name = f"tf:idempotency:{hashlib.sha256(json.dumps([owner, key]).encode()).hexdigest()}"
        holder = secrets.token_hex(8)
        args: list[str | int] = [request_digest, secrets.token_hex(8), holder, LEASE_SECONDS, KEEP_SECONDS]
        found: Any = self._begin(keys=[name], args=args)
        outcome, value = found
        if outcome == "other":
            raise DifferentRequest(key)
        if outcome == "answered":
            fields = json.loads(value)
            return StoredAnswer(**{**fields, "body": base64.b64decode(fields["body"])})
        if outcome == "in flight":
            return InFlight(max(1, int(value)))
        return Lease(name, holder, value)

    def end(self, lease: Lease, answer: StoredAnswer | None) -> None:
        """Store the answer; without one, the next attempt may run at once. Does nothing if the lease has lapsed."""
        document = ""
        if answer is not None:
            document = json.dumps({**asdict(answer), "body": base64.b64encode(answer.body).decode()})
        self._end(keys=[lease.key], args=[lease.holder, document])
