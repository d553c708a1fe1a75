"""Deliveries in Redis: what waits to be sent and what was sent. None is lost, and no two processes send the same one.

Keys: `tf:webhooks-due` endpoint → when one of its deliveries is due, or its lease lapses · of each endpoint
`tf:webhook:<id>:deliveries` hash event → delivery · `…:due` event → next attempt · `…:pending`, `…:delivered`, `…:dead`
event → creation time · `…:lease` the process that sends to it now · `tf:webhook-outcomes` status after an attempt →
count.

One delivery at a time per endpoint, so that a slow receiver does not delay the deliveries of others.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from tokenforce.wire.webhooks import DeliveryAttempt, DeliveryStatus
from tokenforce_core.runtime.redis_pages import Place, places
from tokenforce_core.runtime.text_redis import text_redis
from tokenforce_service.http.dependencies import provided
from tokenforce_service.webhooks.endpoint_store import endpoint_key

DUE = "tf:webhooks-due"
OUTCOMES = "tf:webhook-outcomes"
LEASE_SECONDS = 30.0
"""Longer than an attempt may take (`post.DEADLINE_SECONDS`), with reading and writing its state."""
MOST_ENDED = 1000
"""Delivered ones that the log of an endpoint keeps, and as many dead ones; the oldest are dropped first."""
MOST_LOGGED = 50
"""Attempts that the log of one delivery keeps."""
_CANDIDATES = 16
"""Endpoints that one claim tries."""
_LOGS = ("pending", "delivered", "dead")

_WAKE = """
local function wake(waiting, due, lease, endpoint)
  if redis.call('EXISTS', lease) == 1 then return end
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', waiting, first[2], endpoint) else redis.call('ZREM', waiting, endpoint) end
end
"""

_ADD = f"""{_WAKE}
if redis.call('EXISTS', KEYS[4]) == 0 then return 0 end
if redis.call('HSETNX', KEYS[5], ARGV[2], ARGV[3]) == 0 then return 0 end
redis.call('ZADD', KEYS[6], ARGV[4], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[2])
wake(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
"""

_CLAIM = f"""{_WAKE}
if redis.call('EXISTS', KEYS[3]) == 1 then return false end
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if not first[1] or tonumber(first[2]) > tonumber(ARGV[2]) then
  wake(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
  return false
end
redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return {{first[1], redis.call('HGET', KEYS[4], first[1])}}
"""

_RECORD = f"""{_WAKE}
if redis.call('GET', KEYS[3]) ~= ARGV[3] then return 0 end
redis.call('DEL', KEYS[3])
for _, key in ipairs({{KEYS[2], KEYS[5], KEYS[6], KEYS[7]}}) do redis.call('ZREM', key, ARGV[2]) end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[4], ARGV[2])
else
  redis.call('HSET', KEYS[4], ARGV[2], ARGV[4])
  local log = ({{pending = KEYS[5], delivered = KEYS[6], dead = KEYS[7]}})[ARGV[5]]
  redis.call('ZADD', log, ARGV[6], ARGV[2])
  redis.call('HINCRBY', KEYS[8], ARGV[5], 1)
  if ARGV[5] == 'pending' then
    redis.call('ZADD', KEYS[2], ARGV[7], ARGV[2])
  else
    for _, old in ipairs(redis.call('ZRANGE', log, 0, -(tonumber(ARGV[8]) + 1))) do
      redis.call('ZREM', log, old)
      redis.call('HDEL', KEYS[4], old)
    end
  end
end
wake(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
"""

_REPLAY = f"""{_WAKE}
if redis.call('HEXISTS', KEYS[4], ARGV[2]) == 0 or redis.call('ZSCORE', KEYS[5], ARGV[2]) then return 0 end
redis.call('HSET', KEYS[4], ARGV[2], ARGV[3])
redis.call('ZREM', KEYS[6], ARGV[2])
redis.call('ZREM', KEYS[7], ARGV[2])
redis.call('ZADD', KEYS[5], ARGV[4], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[2])
wake(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
return 1
"""


class StoredDelivery(BaseModel):
    """One event for one endpoint. Times are seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: str
    type: str
    body: str
    """Exactly what is signed and sent."""
    created_at: float
    since: float
    """When it was created or last replayed: retries end a day later."""
    status: DeliveryStatus = DeliveryStatus.pending
    attempts: int = 0
    next_at: float | None = None
    log: list[DeliveryAttempt] = []

    @property
    def id(self) -> str:
        """The id among the deliveries to this endpoint."""
        return self.event_id


@dataclass(frozen=True)
class Claim:
    """One delivery that only this process may attempt, until its lease lapses."""

    webhook_id: str
    token: str
    delivery: StoredDelivery


class DeliveryStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._redis = text_redis(connection)
        self._add = self._redis.register_script(_ADD)
        self._claim = self._redis.register_script(_CLAIM)
        self._record = self._redis.register_script(_RECORD)
        self._replay = self._redis.register_script(_REPLAY)

    def add(self, webhook_id: str, delivery: StoredDelivery) -> bool:
        """Queue a delivery, due at once; False if the endpoint already has this event, or is gone."""
        keys = [
            *_keys(webhook_id, "due", "lease"),
            endpoint_key(webhook_id),
            *_keys(webhook_id, "deliveries", "pending")[1:],
        ]
        at = delivery.created_at
        args: list[Any] = [webhook_id, delivery.event_id, delivery.model_dump_json(), at, delivery.since]
        return bool(self._add(keys=keys, args=args))

    def claim(self, now: float | None = None) -> Claim | None:
        """Take the delivery that has been due longest, of an endpoint without a lease; None if nothing is due."""
        now = time.time() if now is None else now
        for webhook_id in self._redis.zrangebyscore(DUE, "-inf", now, 0, _CANDIDATES):
            token = secrets.token_hex(8)
            args: list[Any] = [webhook_id, now, now + LEASE_SECONDS, token, int(LEASE_SECONDS * 1000)]
            found = self._claim(keys=_keys(webhook_id, "due", "lease", "deliveries"), args=args)
            if found is None:
                continue  # another process was faster
            event_id, document = found
            try:
                return Claim(webhook_id, token, StoredDelivery.model_validate_json(document or ""))
            except ValidationError:
                self._write(webhook_id, token, event_id, None)
        return None

    def record(self, claim: Claim, after: StoredDelivery) -> bool:
        """Store the outcome of an attempt and end the lease; False if it had lapsed: another process has it now."""
        return self._write(claim.webhook_id, claim.token, claim.delivery.event_id, after)

    def _write(self, webhook_id: str, token: str, event_id: str, after: StoredDelivery | None) -> bool:
        """`after` is None if the stored delivery cannot be read: it is dropped."""
        rest: list[Any] = ["", "", 0, 0]
        if after is not None:
            rest = [after.model_dump_json(), after.status.value, after.created_at, after.next_at or 0]
        keys = [*_keys(webhook_id, "due", "lease", "deliveries", *_LOGS), OUTCOMES]
        return bool(self._record(keys=keys, args=[webhook_id, event_id, token, *rest, MOST_ENDED]))

    def get(self, webhook_id: str, event_id: str) -> StoredDelivery | None:
        raw = self._redis.hget(endpoint_key(webhook_id, "deliveries"), event_id)
        return None if raw is None else StoredDelivery.model_validate_json(raw)

    def replay(self, webhook_id: str, delivery: StoredDelivery) -> StoredDelivery | None:
        """Send it again, with the same id and retries for a day; None if it is pending, or gone."""
        now = time.time()
        changed = {"status": DeliveryStatus.pending, "since": now, "attempts": 0, "next_at": now}
        after = delivery.model_copy(update=changed)
        keys = _keys(webhook_id, "due", "lease", "deliveries", *_LOGS)
        args: list[Any] = [webhook_id, delivery.event_id, after.model_dump_json(), delivery.created_at, now]
        return after if self._replay(keys=keys, args=args) else None

    def page(
        self,
        webhook_id: str,
        limit: int,
        status: DeliveryStatus | None = None,
        before: Place | None = None,
    ) -> list[StoredDelivery]:
        """Up to `limit` deliveries, newest first, strictly older than `before`."""
        logs = [status.value] if status is not None else _LOGS
        keys = [endpoint_key(webhook_id, log) for log in logs]
        found = sorted((p for key in keys for p in places(self._redis, key, limit, before)), reverse=True)
        ids = list(dict.fromkeys(event_id for _, event_id in found))[:limit]
        raw = self._redis.hmget(endpoint_key(webhook_id, "deliveries"), ids) if ids else []
        return [StoredDelivery.model_validate_json(document) for document in raw if document is not None]

    def forget(self, webhook_id: str, pipe: Any) -> None:
        """Put the removal of all deliveries to an endpoint into a MULTI."""
        pipe.zrem(DUE, webhook_id)
        pipe.delete(*_keys(webhook_id, "due", "lease", "deliveries", *_LOGS)[1:])


TheDeliveries = Annotated[DeliveryStore, provided(DeliveryStore)]


def _keys(webhook_id: str, *parts: str) -> list[str]:
    return [DUE, *(endpoint_key(webhook_id, part) for part in parts)]
