"""The wire type of server-sent events."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from tokenforce.wire.base import WireAnswer
from tokenforce.wire.findings import Verdict
from tokenforce.wire.problems import Problem
from tokenforce.wire.scans import Progress, ScanStatus


class EventKind(StrEnum):
    """`status`: the status of a scan has changed. `progress`: at most one per second and scan."""

    status = "status"
    progress = "progress"


class ScanEvent(WireAnswer):
    """The state of a scan at one moment: what `GET /v1/scans/{id}` answered then."""

    id: str
    """Id in this stream. Send it as `Last-Event-ID` to continue after this event."""
    kind: str
    """An `EventKind`, or a kind of a newer service."""
    scan_id: str
    at: datetime
    status: ScanStatus
    progress: Progress
    verdict: Verdict | None = None
    error: Problem | None = None
