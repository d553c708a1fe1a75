"""Secrets that rotate: one is current, and those before it count until their overlap ends.

Each key is a sorted set: what is kept of a secret → the time at which it counts no more (`inf`: the current one).
"""

from __future__ import annotations

import base64
import secrets
import time

from redis import Redis

from tokenforce_core.runtime.text_redis import text_redis

OVERLAP_SECONDS = 24 * 3600
"""How long a secret still counts after it was replaced."""
MOST_SECRETS = 5
"""Secrets that count at a time: a rotation that is retried must not remove the one that the other side has."""
SECRET_BYTES = 32
"""Random bytes of a secret; Standard Webhooks asks for 24 to 64."""

_ROTATE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
for _, secret in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], 'inf', 'inf')) do
  redis.call('ZADD', KEYS[2], ARGV[3], secret)
  if ARGV[5] then redis.call('EXPIREAT', ARGV[5] .. secret, math.ceil(ARGV[3])) end
end
redis.call('ZADD', KEYS[2], 'inf', ARGV[1])
if ARGV[5] then redis.call('SET', ARGV[5] .. ARGV[1], ARGV[6]) end
for _, dropped in ipairs(redis.call('ZRANGE', KEYS[2], 0, -(tonumber(ARGV[4]) + 1))) do
  redis.call('ZREM', KEYS[2], dropped)
  if ARGV[5] then redis.call('DEL', ARGV[5] .. dropped) end
end
return 1
"""


class RotatingSecrets:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._redis = text_redis(connection)
        self._rotate = self._redis.register_script(_ROTATE)

    def rotate(self, holder: str, key: str, secret: str, index: tuple[str, str] | None = None) -> float | None:
        """Make `secret` the current one in `key`.

        Args:
            holder: the key of the row that the secrets belong to.
            index: (prefix, id) if a holder is found by its secret: the key of prefix and secret holds the id.

        Returns:
            The time until which the secret before it counts; None if there is no `holder`.
        """
        now = time.time()
        args = [secret, now, now + OVERLAP_SECONDS, MOST_SECRETS, *(index or ())]
        return now + OVERLAP_SECONDS if self._rotate(keys=[holder, key], args=args) else None

    def counting(self, key: str) -> list[str]:
        """The secrets that count now, the newest first."""
        return self._redis.zrevrangebyscore(key, "inf", f"({time.time()!r}")


def new_secret() -> str:
    """A secret in the form of Standard Webhooks, `whsec_<base64>`."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
