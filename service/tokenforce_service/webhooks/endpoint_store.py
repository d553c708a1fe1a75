"""Endpoints in Redis, and the secrets that sign what is sent to them.

Keys: `tf:webhook:<id>` hash · `…:secrets` as in overlapping_secrets.py · `tf:webhooks` ids by time of registration ·
`tf:webhooks-of:<owner>` those of one owner. The deliveries are in delivery_store.py.

The secrets are stored as they are, because signing needs them: whoever reads this Redis can forge callbacks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from tokenforce.wire.webhooks import WebhookChange, WebhookRequest
from tokenforce_service.access.rotating_secrets import OverlappingSecrets

ENDPOINTS = "tf:webhooks"
MOST_ENDPOINTS = 50
"""Of one owner: each event is sent to all of them."""

_CREATE = """
local again = redis.call('EXISTS', KEYS[1]) == 1
if not again and redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[4]) then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('ZADD', KEYS[2], 'inf', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
return 1
"""

_CHANGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
"""

_DISABLE = """
if redis.call('HGET', KEYS[1], 'url') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'enabled', '0', 'disabled_reason', ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Endpoint:
    """As stored, without its secrets."""

    id: str
    owner: str
    url: str
    events: tuple[str, ...]
    description: str | None
    enabled: bool
    disabled_reason: str | None
    """Why the service disabled it; None if its owner did."""
    created_at: float

    def wants(self, event_type: str) -> bool:
        return self.enabled and event_type in self.events


class EndpointStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._create = connection.register_script(_CREATE)
        self._change = connection.register_script(_CHANGE)
        self._disable = connection.register_script(_DISABLE)
        self._secrets = OverlappingSecrets(connection)

    def create(self, webhook_id: str, owner: str, request: WebhookRequest, secret: str) -> bool:
        """False if the owner has `MOST_ENDPOINTS` already.

        An endpoint of the same id is replaced: its making was interrupted before anybody saw its secret.
        """
        now = time.time()
        fields = {
            "owner": owner,
            "url": request.url,
            "events": json.dumps(request.events),
            "description": request.description or "",
            "enabled": "1",
            "disabled_reason": "",
            "created_at": repr(now),
        }
        keys = [endpoint_key(webhook_id), endpoint_key(webhook_id, "secrets"), _of(owner), ENDPOINTS]
        flat = [part for pair in fields.items() for part in pair]
        return bool(self._create(keys=keys, args=[webhook_id, now, secret, MOST_ENDPOINTS, *flat]))

    def get(self, webhook_id: str) -> Endpoint | None:
        raw = cast("Mapping[bytes, bytes]", self._connection.hgetall(endpoint_key(webhook_id)))
        return _endpoint(webhook_id, raw) if raw else None

    def page(self, owner: str | None, limit: int, before: tuple[float, str] | None = None) -> list[Endpoint]:
        """Up to `limit` endpoints of an owner or, for None, of all; newest first, strictly older than `before`.

        `before` is (registration time, id).
        """
        found = sorted(
            self._of_index(ENDPOINTS if owner is None else _of(owner)),
            key=lambda endpoint: (endpoint.created_at, endpoint.id),
            reverse=True,
        )
        return [e for e in found if before is None or (e.created_at, e.id) < before][:limit]

    def of(self, owner: str) -> list[Endpoint]:
        """All endpoints of an owner, at most `MOST_ENDPOINTS`."""
        return self._of_index(_of(owner))

    def _of_index(self, key: str) -> list[Endpoint]:
        ids = [raw.decode() for raw in cast("Iterable[bytes]", self._connection.zrange(key, 0, -1))]
        with self._connection.pipeline() as pipe:
            for webhook_id in ids:
                pipe.hgetall(endpoint_key(webhook_id))
            rows: list[Mapping[bytes, bytes]] = pipe.execute()
        return [_endpoint(webhook_id, raw) for webhook_id, raw in zip(ids, rows, strict=True) if raw]

    def change(self, webhook_id: str, change: WebhookChange) -> bool:
        """Set the fields that are given; False if there is no such endpoint (any more)."""
        given = change.model_dump(exclude_none=True)
        fields: dict[str, str] = {name: given[name] for name in ("url", "description") if name in given}
        if "events" in given:
            fields["events"] = json.dumps(given["events"])
        if "enabled" in given:
            fields |= {"enabled": "1" if given["enabled"] else "0", "disabled_reason": ""}
        flat = [part for pair in fields.items() for part in pair]
        return bool(self._change(keys=[endpoint_key(webhook_id)], args=flat))

    def disable(self, endpoint: Endpoint, reason: str) -> bool:
        """Disable it, unless it was given another url since `endpoint` was read."""
        return bool(self._disable(keys=[endpoint_key(endpoint.id)], args=[endpoint.url, reason]))

    def rotate(self, webhook_id: str, secret: str) -> float | None:
        """A new secret; returns until when the one before still signs, None if there is no such endpoint."""
        return self._secrets.rotate(endpoint_key(webhook_id), endpoint_key(webhook_id, "secrets"), secret)

    def secrets(self, webhook_id: str) -> list[str]:
        """Those that sign now, the newest first."""
        return self._secrets.counting(endpoint_key(webhook_id, "secrets"))

    def forget(self, endpoint: Endpoint, pipe: Any) -> None:
        """Put its removal into a MULTI, in which its deliveries go too."""
        pipe.delete(endpoint_key(endpoint.id), endpoint_key(endpoint.id, "secrets"))
        pipe.zrem(_of(endpoint.owner), endpoint.id)
        pipe.zrem(ENDPOINTS, endpoint.id)


def endpoint_key(webhook_id: str, part: str = "") -> str:
    return f"tf:webhook:{webhook_id}" + (f":{part}" if part else "")


def _of(owner: str) -> str:
    return f"tf:webhooks-of:{owner}"


def _endpoint(webhook_id: str, raw: Mapping[bytes, bytes]) -> Endpoint:
    fields = {key.decode(): value.decode() for key, value in raw.items()}
    return Endpoint(
        id=webhook_id,
        owner=fields["owner"],
        url=fields["url"],
        events=tuple(json.loads(fields["events"])),
        description=fields["description"] or None,
        enabled=fields["enabled"] == "1",
        disabled_reason=fields["disabled_reason"] or None,
        created_at=float(fields["created_at"]),
    )
