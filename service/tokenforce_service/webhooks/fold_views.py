"""Stored endpoints and deliveries as wire documents; a secret is shown by the two routes that make one."""

from __future__ import annotations

import json

from tokenforce.wire.webhooks import Delivery, Webhook
from tokenforce_service.http.moments import moment
from tokenforce_service.webhooks.delivery_store import StoredDelivery
from tokenforce_service.webhooks.endpoint_store import Endpoint


def webhook_view(endpoint: Endpoint) -> Webhook:
    return Webhook(
        id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        created_at=moment(endpoint.created_at),
    )


def delivery_view(webhook_id: str, stored: StoredDelivery, *, payload: bool = False) -> Delivery:
    """`payload`: with what is sent."""
    return Delivery(
        id=stored.event_id,
        webhook_id=webhook_id,
        type=stored.type,
        status=stored.status,
        created_at=moment(stored.created_at),
        next_attempt_at=moment(stored.next_at) if stored.next_at is not None else None,
        attempts=stored.attempts,
        log=stored.log,
        payload=json.loads(stored.body) if payload else None,
    )
