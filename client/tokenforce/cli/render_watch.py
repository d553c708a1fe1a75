"""The table of `tokenforce watch`. Models' names are strangers' texts: shown, never obeyed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokenforce.cli.output import visible
from tokenforce.cli.progress import duration
from tokenforce.wire.scans import Scan, ScanStatus

BAR = 10
STYLES = {
    "hidden_text": "bold red",
    "suspicious": "yellow",
    "clean": "green",
    "failed": "red",
    "cancelled": "dim",
    "queued": "dim",
}


def watch_table(scans: Iterable[Scan]) -> Table:
    """A row a scan, those that are not ended first: its state (the verdict, once there is one) and how far it is."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("id", "state", "done", "tok/s", "ETA"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("tok/s", "ETA") else "left")
    table.add_column("model", overflow="fold", ratio=1)
    for scan in sorted(scans, key=lambda item: item.status.final):
        state = scan.verdict or scan.status
        table.add_row(
            Text(visible(scan.id)),
            Text(state, STYLES.get(state, "")),
            _bar(scan),
            Text(_speed(scan)),
            Text(_left(scan)),
            Text(visible(scan.model)),
        )
    return table


def _bar(scan: Scan) -> RenderableType:
    progress = scan.progress
    if scan.status is ScanStatus.succeeded:
        return ProgressBar(total=1, completed=1, width=BAR)
    if scan.status.final or not progress.total:
        return Text("")
    return ProgressBar(total=progress.total, completed=min(progress.done, progress.total), width=BAR)


def _speed(scan: Scan) -> str:
    speed = scan.progress.tokens_per_second
    return "" if scan.status.final or speed is None else f"{speed:.0f}"


def _left(scan: Scan) -> str:
    seconds = scan.progress.eta_seconds
    return "" if scan.status.final or seconds is None else duration(seconds)
