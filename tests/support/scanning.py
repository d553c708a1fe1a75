"""Scans over HTTP as tests make them: looked at often, so that no test waits longer than the work takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.stack_process import wait_until
from tokenforce import Client
from tokenforce.wire.report import Report
from tokenforce.wire.scans import Scan, ScanStatus

LOOK_SECONDS = 0.05
LONGEST_SECONDS = 240.0


def ended(client: Client, scan: Scan | str) -> Scan:
    """This scan once it has succeeded; `ScanFailed` if it does not."""
    scan_id = scan if isinstance(scan, str) else scan.id
    return client.scans.wait(scan_id, timeout=LONGEST_SECONDS, poll=LOOK_SECONDS)


def scanned(client: Client, model: Path, reference: Path | None = None, **options: Any) -> Report:
    """The report of a new scan, measured anew."""
    named = str(reference) if reference else None
    scan = client.scans.create(model=str(model), reference=named, force=True, **options)
    return client.scans.report(ended(client, scan).id)


def until(client: Client, scan_id: str, condition: Callable[[ScanStatus, int], bool], seconds: float = 120) -> None:
    """Wait until status and progress of a scan, which must not fail, meet a condition."""

    def met() -> bool:
        scan = client.scans.get(scan_id)
        assert scan.status is not ScanStatus.failed, scan.error
        return condition(scan.status, scan.progress.done)

    wait_until(met, seconds, lambda: str(client.scans.get(scan_id)))
