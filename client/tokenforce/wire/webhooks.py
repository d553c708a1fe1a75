"""Wire types of callbacks: endpoints, the events sent to them, and the log of what was sent."""

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
    """What a callback can be about. Receivers must live with types that they do not know."""

    scan_succeeded = "scan.succeeded"
    scan_failed = "scan.failed"
    scan_cancelled = "scan.cancelled"
    webhook_test = "webhook.test"


SUBSCRIBABLE = tuple(kind for kind in EventType if kind is not EventType.webhook_test)
"""What an endpoint can ask for; a test is only sent when somebody asks for one."""


def _each_once(events: list[EventType] | None) -> list[EventType] | None:
    if events is not None and EventType.webhook_test in events:
        raise ValueError("webhook.test cannot be subscribed to; POST /v1/webhooks/{id}/test sends one")
    return None if events is None else list(dict.fromkeys(events))


class WebhookRequest(WireRequest):
    """Body of `POST /v1/webhooks`."""

    url: str = Field(min_length=1, max_length=LONGEST_URL, description="Where to POST: https, at a public address.")
    events: list[EventType] = Field(
        default=list(SUBSCRIBABLE), min_length=1, max_length=32, description="Default: all that there are now."
    )
    description: str | None = Field(default=None, max_length=500)

    _events = field_validator("events")(_each_once)


class WebhookChange(WireRequest):
    """Body of `PATCH /v1/webhooks/{id}`: what is left out stays."""

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
    """A registered endpoint, without its secret."""

    id: str
    url: str
    events: list[str]
    description: str | None = None
    enabled: bool
    disabled_reason: str | None = Field(default=None, description="Why the service itself disabled it.")
    created_at: datetime


class WebhookSecret(Webhook):
    """The answer to a registration or a rotation: the only one that shows the secret."""

    secret: str = Field(repr=False, description="`whsec_…`; give it to the receiver. It is not shown again.")
    previous_secrets_until: datetime | None = Field(
        default=None, description="Until then callbacks are signed with the secret before this one as well."
    )


class WebhookPage(WireAnswer):
    items: list[Webhook]
    next_cursor: str | None = None


# --- what a receiver gets -----------------------------------------------------------------------------


class EventProblem(WireAnswer):
    """Why a scan failed."""

    code: str
    detail: str
    request_id: str | None = Field(default=None, description="Of the request for the scan; the logs have it.")


class ScanOutcome(WireAnswer):
    """`data` of the `scan.*` events. Thin, and without any text that was found: fetch the report for that."""

    scan_id: str
    status: ScanStatus
    model: str
    verdict: Verdict | None = None
    licences: list[LicenceMatch] = Field(default=[], description="Registered fingerprints that the upload carries.")
    error: EventProblem | None = None
    audit: AuditAnswer | None = Field(default=None, description="What to do, if an upload hook started the scan.")
    links: dict[str, str] = Field(default={}, description="Paths at the service: `self`, `findings`, `report`.")


class WebhookEvent(WireAnswer):
    """One callback. `tokenforce.verify_webhook` makes it from what arrived."""

    id: str = Field(default="", description="The header `webhook-id`: the same on every retry; act on each once.")
    type: str = Field(description="One of `EventType`, or one that a newer service sends.")
    timestamp: datetime = Field(description="When it happened, not when it was sent.")
    data: dict[str, Any]

    @property
    def scan(self) -> ScanOutcome | None:
        """The data of a `scan.*` event; None for other types."""
        return ScanOutcome.model_validate(self.data) if self.type.startswith("scan.") else None


# --- the delivery log ---------------------------------------------------------------------------------


class DeliveryStatus(StrEnum):
    """`pending`: not tried yet, or to be tried again. `dead`: given up; it can be replayed."""

    pending = "pending"
    delivered = "delivered"
    dead = "dead"


class DeliveryAttempt(WireAnswer):
    """One POST to the receiver."""

    at: datetime
    seconds: float
    status_code: int | None = Field(default=None, description="None if there was no answer.")
    error: str | None = Field(default=None, description="Why there was none.")
    excerpt: str | None = Field(default=None, description="How an answer other than 2xx begins.")


class Delivery(WireAnswer):
    """One event on its way to one endpoint."""

    id: str = Field(description="The `webhook-id` that the receiver sees.")
    webhook_id: str
    type: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None = Field(default=None, description="Of a pending one.")
    attempts: int = Field(description="How many were made since it was created or replayed.")
    log: list[DeliveryAttempt] = Field(description="The latest attempts, the oldest first.")
    payload: dict[str, Any] | None = Field(default=None, description="What is sent; shown for one delivery only.")


class DeliveryPage(WireAnswer):
    items: list[Delivery]
    next_cursor: str | None = None
