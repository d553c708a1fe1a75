"""Endpoints in Redis: the receivers of webhooks, and the secrets that sign what is sent to them.

Keys: those of registrations.py for `tf:webhook`. Their deliveries are in delivery_store.py.

The secrets are stored as they are, because signing needs them: everyone who can read this Redis can forge webhooks.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from redis import Redis

from tokenforce.wire.webhooks import WebhookChange, WebhookRequest
from tokenforce_core.runtime.redis_pages import Place, row_key
from tokenforce_service.access.registrations import Registrations
from tokenforce_service.http.dependencies import provided
from tokenforce_service.http.rows import Row

PREFIX = "tf:webhook"
endpoint_key = partial(row_key, PREFIX)
"""The Redis key of an endpoint's row, or of a part beside it."""

_DISABLE = """
if redis.call('HGET', KEYS[1], 'url') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'enabled', '0', 'disabled_reason', ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as stored, without its secrets. `created_at` in seconds since the epoch."""

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
        self._registered = Registrations(connection, PREFIX)
        self._disable = connection.register_script(_DISABLE)

    def create(self, webhook_id: str, owner: str, request: WebhookRequest, secret: str) -> bool:
        """Register an endpoint; False if the owner has as many as one may have: each event is sent to all of them."""
        fields = {
            "owner": owner,
            "url": request.url,
            "events": json.dumps(request.events),
            "description": request.description or "",
            "enabled": "1",
            "disabled_reason": "",
        }
        return self._registered.create(webhook_id, time.time(), fields, secret)

    def get(self, webhook_id: str) -> Endpoint | None:
        row = self._registered.get(webhook_id)
        return None if row is None else _endpoint(webhook_id, row)

    def page(self, owner: str | None, limit: int, before: Place | None = None) -> list[Endpoint]:
        """Up to `limit` endpoints of an owner or, for None, of all; newest first, strictly older than `before`."""
        return [_endpoint(*item) for item in self._registered.page(owner, limit, before).items()]

    def of(self, owner: str) -> list[Endpoint]:
        """All endpoints of an owner."""
        return [_endpoint(*item) for item in self._registered.of(owner).items()]

    def change(self, webhook_id: str, change: WebhookChange) -> bool:
        """Set the fields that are given; False if there is no such endpoint (any more)."""
        given = change.model_dump(exclude_none=True)
        fields: dict[str, str] = {name: given[name] for name in ("url", "description") if name in given}
        if "events" in given:
            fields["events"] = json.dumps(given["events"])
        if "enabled" in given:
            fields |= {"enabled": "1" if given["enabled"] else "0", "disabled_reason": ""}
        return self._registered.change(webhook_id, fields)

    def disable(self, endpoint: Endpoint, reason: str) -> bool:
        """Disable it, unless its url has changed since `endpoint` was read."""
        return bool(self._disable(keys=[endpoint_key(endpoint.id)], args=[endpoint.url, reason]))

    def rotate(self, webhook_id: str, secret: str) -> float | None:
        """Set a new secret. Returns the time until which the one before it signs; None if the endpoint is gone."""
        return self._registered.rotate(webhook_id, secret)

    def secrets(self, webhook_id: str) -> list[str]:
        """The secrets that sign now, the newest first."""
        return self._registered.secrets(webhook_id)

    def forget(self, endpoint: Endpoint, pipe: Any) -> None:
        """Put its removal into a MULTI, which removes its deliveries too."""
        self._registered.remove(endpoint.id, endpoint.owner, pipe)


TheEndpoints = Annotated[EndpointStore, provided(EndpointStore)]


def _endpoint(webhook_id: str, row: Row) -> Endpoint:
    return Endpoint(
        id=webhook_id,
        owner=row["owner"],
        url=row["url"],
        events=tuple(json.loads(row["events"])),
        description=row["description"] or None,
        enabled=row["enabled"] == "1",
        disabled_reason=row["disabled_reason"] or None,
        created_at=float(row["created_at"]),
    )
