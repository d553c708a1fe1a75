"""Wire types of webhooks: endpoints, the events that the service sends to them, and the log of deliveries."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator, model_validator

from tokenforce.wire.audits import AuditAnswer
from tokenforce.wire.base import WireAnswer, WireRequest
from tokenforce.wire.findings import LicenceMatch, Verdict
from tokenforce.wire.scans import ScanStatus

LONGEST_URL = 2048
"""Characters."""


class EventType(StrEnum):
    """Types of webhook events. An endpoint must accept types that it does not know."""

    scan_succeeded = "scan.succeeded"
    scan_failed = "scan.failed"
    scan_cancelled = "scan.cancelled"
    webhook_test = "webhook.test"


SUBSCRIBABLE = tuple(kind for kind in EventType if kind is not EventType.webhook_test)
"""Types that an endpoint can subscribe to. A test is sent only on request."""


def _each_once(events: list[EventType] | None) -> list[EventType] | None:
    if events is not None and EventType.webhook_test in events:
        raise ValueError("you cannot subscribe to webhook.test; POST /v1/webhooks/{id}/test sends one")
    return None if events is None else list(dict.fromkeys(events))


class WebhookRequest(WireRequest):
    """Body of `POST /v1/webhooks`."""

    url: str = Field(
        min_length=1,
        max_length=LONGEST_URL,
        description="Where the service sends its POST requests: https, at a public address.",
    )
    events: list[EventType] = Field(
        default=list(SUBSCRIBABLE),
        min_length=1,
        max_length=32,
        description="Event types to send. Default: all of today.",
    )
    description: str | None = Field(default=None, max_length=500)

    _events = field_validator("events")(_each_once)


class WebhookChange(WireRequest):
    """Body of `PATCH /v1/webhooks/{id}`. A field that is left out keeps its value."""

    url: str | None = Field(default=None, min_length=1, max_length=LONGEST_URL)
    events: list[EventType] | None = Field(default=None, min_length=1, max_length=32)
    enabled: bool | None = None
    description: str | None = Field(default=None, max_length=500)

    _events = field_validator("events")(_each_once)

    @model_validator(mode="after")
    def _something(self) -> WebhookChange:
        if not self.model_dump(exclude_none=True):
            raise ValueError("give at least one of url, events, enabled and description")
        return self


class Webhook(WireAnswer):
    """An endpoint without its secret."""

    id: str
    url: str
    events: list[str]
    description: str | None = None
    enabled: bool
    disabled_reason: str | None = Field(default=None, description="Why the service disabled it.")
    created_at: datetime


class WebhookSecret(Webhook):
    """The answer to a registration or a rotation. Only this answer shows the secret."""

    secret: str = Field(
        repr=False,
        description="`whsec_…`, with which the endpoint checks deliveries. Save it now: it cannot be shown again.",
    )
    previous_secrets_until: datetime | None = Field(
        default=None, description="Until then deliveries carry a signature of the old secret too."
    )


class WebhookPage(WireAnswer):
    items: list[Webhook]
    next_cursor: str | None = None


# --- what an endpoint receives -----------------------------------------------------------------------------


class EventProblem(WireAnswer):
    """Why a scan failed."""

    code: str
    detail: str
    request_id: str | None = Field(
        default=None, description="Id of the request that started the scan; the service's logs contain it."
    )


class ScanOutcome(WireAnswer):
    """`data` of the `scan.*` events. It holds no found text; the report does."""

    scan_id: str
    status: ScanStatus
    model: str
    verdict: Verdict | None = None
    licences: list[LicenceMatch] = Field(default=[], description="Fingerprints that the upload carries.")
    error: EventProblem | None = None
    audit: AuditAnswer | None = Field(default=None, description="The decision, if an upload hook started the scan.")
    links: dict[str, str] = Field(default={}, description="Paths of the service: `self`, `findings`, `report`.")


class WebhookEvent(WireAnswer):
    """One webhook event. `tokenforce.verify_webhook` reads it from a request."""

    id: str = Field(default="", description="The header `webhook-id`, equal for every retry. Act on each id once.")
    type: str = Field(description="See `EventType`; a newer service may have more.")
    timestamp: datetime = Field(description="When it happened. The delivery may be later.")
    data: dict[str, Any]

    @property
    def scan(self) -> ScanOutcome | None:
        """The data of a `scan.*` event; None for other types."""
        return ScanOutcome.model_validate(self.data) if self.type.startswith("scan.") else None


# --- the delivery log ---------------------------------------------------------------------------------


class DeliveryStatus(StrEnum):
    """`pending`: the service will try it (again). `dead`: the service gave up; you can replay it."""

    pending = "pending"
    delivered = "delivered"
    dead = "dead"


class DeliveryAttempt(WireAnswer):
    """One attempt to POST to the endpoint."""

    at: datetime
    seconds: float
    status_code: int | None = Field(default=None, description="HTTP status of the answer; null without an answer.")
    error: str | None = Field(default=None, description="Why there was no answer.")
    excerpt: str | None = Field(default=None, description="Beginning of an answer other than 2xx.")


class Delivery(WireAnswer):
    """One event for one endpoint, and the attempts to deliver it."""

    id: str = Field(description="The header `webhook-id` of its requests.")
    webhook_id: str
    type: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None = Field(default=None, description="Time of the next attempt, if it is pending.")
    attempts: int = Field(description="Number of attempts since it was created or replayed.")
    log: list[DeliveryAttempt] = Field(description="The latest attempts, oldest first.")
    payload: dict[str, Any] | None = Field(default=None, description="The event; only in the answer for one delivery.")


class DeliveryPage(WireAnswer):
    items: list[Delivery]
    next_cursor: str | None = None
