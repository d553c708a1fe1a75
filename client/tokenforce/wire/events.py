"""The wire type of server-sent events."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from tokenforce.wire.base import WireAnswer
from tokenforce.wire.findings import Verdict
from tokenforce.wire.problems import Problem
from tokenforce.wire.scans import Progress, ScanStatus


class EventKind(StrEnum):
    """`status`: a scan has moved on. `progress`: at most one a second and scan."""

    status = "status"
    progress = "progress"


class ScanEvent(WireAnswer):
    """What a poll of the scan would have shown at that moment."""

    id: str
    """Of this stream; what comes after it follows a `Last-Event-ID` with it."""
    kind: str
    """An `EventKind`, or one that a newer service added."""
    scan_id: str
    at: datetime
    status: ScanStatus
    progress: Progress
    verdict: Verdict | None = None
    error: Problem | None = None
