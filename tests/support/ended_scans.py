"""Scans about to end, and what a receiver makes of the webhook about it."""

from __future__ import annotations

import itertools

from tests.support.receiver import Received
from tests.support.scan_results import example_report
from tokenforce import WebhookEvent, verify_webhook
from tokenforce.wire.findings import LicenceMatch
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.scans.store import Store

OWNER = "market"
_numbers = itertools.count()


def scan(store: Store, owner: str = OWNER) -> str:
    """A scan of which only the report is missing."""
    scan_id = f"scan_{next(_numbers)}"
    store.create(scan_id, ScanRequest(model="/models/upload-17"), owner)
    store.advance(scan_id, ScanStatus.aggregating, ScanStatus.queued)
    return scan_id


def finish(store: Store, scan_id: str) -> None:
    match = LicenceMatch(fingerprint="fp_1", owner="Example Labs", licence="L 1.0", match="finding")
    report = example_report(scan_id, reasons=["a hidden text"]).model_copy(update={"licences": [match]})
    assert store.finish(scan_id, report)


def verified(request: Received, secret: str) -> WebhookEvent:
    return verify_webhook(request.body, request.headers, secret)
