"""How many scans a key may have at once and start per day, and how many there may be in all.

Keys: `tf:quota:<key>:active` ids of the key's scans · `tf:quota:<key>` hash: `day`, and the `scans` started on it.
"""

from __future__ import annotations

from redis import Redis
from rq import Queue

from tokenforce.wire.keys import USUAL_LIMITS, KeyLimits
from tokenforce.wire.problems import ErrorCode
from tokenforce_core.queues.jobs import MODEL_QUEUE_PREFIX
from tokenforce_core.runtime.text_redis import text_redis
from tokenforce_core.scans.store import ACTIVE
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings

BUSY_SECONDS = 30
"""`Retry-After` where the service cannot know when a scan ends."""

# The id joins the active scans here, so that two requests cannot both take the last place. If a gateway dies before it
# stores the scan, the reaper removes the id.
_CLAIM = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 or redis.call('EXISTS', KEYS[2]) == 1 then return {'known', 0} end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return {'full', 0} end
for _, id in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if redis.call('SISMEMBER', KEYS[1], id) == 0 then redis.call('SREM', KEYS[3], id) end
end
if redis.call('SCARD', KEYS[3]) >= tonumber(ARGV[3]) then return {'active', 0} end
local now = tonumber(redis.call('TIME')[1])
local today = math.floor(now / 86400)
if tonumber(redis.call('HGET', KEYS[4], 'day') or -1) ~= today then
  redis.call('HSET', KEYS[4], 'day', today, 'scans', 0)
end
if tonumber(redis.call('HGET', KEYS[4], 'scans')) >= tonumber(ARGV[4]) then
  return {'day', (today + 1) * 86400 - now}
end
redis.call('HINCRBY', KEYS[4], 'scans', 1)
redis.call('EXPIRE', KEYS[4], 2 * 86400)
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('EXPIRE', KEYS[3], 30 * 86400)
return {'claimed', 0}
"""


class Quotas:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis, settings: ServiceSettings) -> None:
        self._redis = text_redis(connection)
        self._settings = settings
        self._claim = self._redis.register_script(_CLAIM)

    def refuse_if_overloaded(self) -> None:
        """Cheap; call it before any other check.

        Raises:
            Refusal: `overloaded`.
        """
        active = self._redis.scard(ACTIVE)
        shards = self._waiting_shards()
        if active >= self._settings.max_active_scans or shards >= self._settings.max_waiting_shards:
            raise _overloaded(f"{active} scans are active and {shards} shards are waiting")

    def claim(self, scan_id: str, key_id: str, own: KeyLimits = USUAL_LIMITS) -> bool:
        """Count a new scan as active and as one of today; False if a scan with this id exists or is being stored.

        Raises:
            Refusal: `quota_exceeded`, `overloaded`.
        """
        in_all = self._settings.max_active_scans
        at_once = own.active_scans or self._settings.active_scans_per_key
        a_day = own.scans_per_day or self._settings.scans_per_key_and_day
        answer, seconds = self._claim(
            keys=[ACTIVE, f"tf:scan:{scan_id}", f"tf:quota:{key_id}:active", f"tf:quota:{key_id}"],
            args=[scan_id, in_all, at_once, a_day],
        )
        if answer == "full":
            raise _overloaded(f"{in_all} scans are active")
        if answer == "active":
            raise _exceeded(key_id, f"active scans ({at_once}); wait until one ends, or cancel one", BUSY_SECONDS)
        if answer == "day":
            raise _exceeded(key_id, f"scans per day ({a_day}); continue after midnight (UTC)", int(seconds))
        return bool(answer == "claimed")

    def _waiting_shards(self) -> int:
        prefix = Queue.redis_queue_namespace_prefix + MODEL_QUEUE_PREFIX
        with self._redis.pipeline(transaction=False) as pipe:
            for key in self._redis.smembers(Queue.redis_queues_keys):
                if key.startswith(prefix):
                    pipe.llen(key)
            return sum(pipe.execute())


def _exceeded(key_id: str, what: str, seconds: int) -> Refusal:
    detail = f"The key {key_id} has reached its limit of {what}."
    return Refusal(ErrorCode.quota_exceeded, detail, headers={"Retry-After": str(seconds)})


def _overloaded(what: str) -> Refusal:
    detail = f"The service is at capacity: {what}; try again later."
    return Refusal(ErrorCode.overloaded, detail, headers={"Retry-After": str(BUSY_SECONDS)})
