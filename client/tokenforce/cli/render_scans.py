"""How scans are listed, and one that has no report."""

from __future__ import annotations

from tokenforce.cli import output
from tokenforce.cli.tables import Listing, minute
from tokenforce.wire.scans import Scan

SCANS: Listing[Scan] = Listing(
    "scans",
    narrow=("id", "status", "verdict", "created"),
    wide=("model",),
    cells=lambda scan: (scan.id, scan.status, scan.verdict or "", minute(scan.created_at), scan.model),
)


def print_scan(scan: Scan) -> None:
    """The state of a scan that has no report."""
    progress = scan.progress
    done = f"{progress.done}/{progress.total}" if progress.total is not None else str(progress.done)
    line = f"scan {scan.id} of {scan.model}: {scan.status}"
    if not scan.status.final:
        line += f", {progress.stage} {done}"
    if scan.error is not None:
        line += f", {scan.error.code}: {scan.error.detail}"
    output.stdout().print(output.visible(line))
