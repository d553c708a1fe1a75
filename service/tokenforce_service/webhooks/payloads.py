"""The events that webhooks carry.

A new kind of event needs a member of `EventType`, a model of its data in wire/webhooks.py, and a line in `events_of`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenforce.wire.problems import Problem
from tokenforce.wire.scans import ScanStatus
from tokenforce.wire.webhooks import EventProblem, EventType, ScanOutcome
from tokenforce_core.scans.row import ScanRow
from tokenforce_core.scans.store import Store
from tokenforce_service.moments import moment
from tokenforce_service.scans.audit import audit_of
from tokenforce_service.scans.views import scan_view

_TYPE_OF_END = {
    ScanStatus.succeeded: EventType.scan_succeeded,
    ScanStatus.failed: EventType.scan_failed,
    ScanStatus.cancelled: EventType.scan_cancelled,
}


@dataclass(frozen=True)
class Event:
    """An event for the endpoints of `owner` that want this type."""

    id: str
    """The `webhook-id`. It is made from what happened, so that an event that is emitted twice has one id."""
    owner: str
    type: EventType
    at: float
    """Seconds since the epoch."""
    data: Mapping[str, Any]

    def body(self) -> str:
        """The JSON that is signed and sent (Standard Webhooks, "Payload structure")."""
        document = {"type": self.type.value, "timestamp": moment(self.at).isoformat(), "data": dict(self.data)}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def events_of(row: ScanRow, store: Store) -> list[Event]:
    """The events of a scan that has ended."""
    kind = _TYPE_OF_END.get(row.status)
    if kind is None:
        return []
    data = _outcome(row, store).model_dump(mode="json", exclude_none=True)
    return [Event(_id_of(row.id, kind), row.owner, kind, row.finished_at or row.created_at, data)]


def event_for_test(new_id: str, webhook_id: str, owner: str, at: float) -> Event:
    """The event of one request for a test. `new_id` is the id of this request."""
    data = {"webhook_id": webhook_id, "message": "This is a test event. No scan has ended."}
    return Event(f"evt_{new_id}", owner, EventType.webhook_test, at, data)


def _outcome(row: ScanRow, store: Store) -> ScanOutcome:
    report = store.report(row.id) if row.status is ScanStatus.succeeded else None
    return ScanOutcome(
        scan_id=row.id,
        status=row.status,
        model=row.request.model,
        verdict=row.verdict,
        licences=report.licences if report is not None else [],
        error=_problem(row.error) if row.error is not None else None,
        audit=audit_of(row, report) if row.origin is not None else None,
        links=scan_view(row).links,
    )


def _problem(error: Problem) -> EventProblem:
    return EventProblem(code=error.code, detail=error.detail, request_id=error.request_id)


def _id_of(scan_id: str, kind: EventType) -> str:
    return "evt_" + hashlib.sha256(f"{scan_id} {kind.value}".encode()).hexdigest()[:24]
