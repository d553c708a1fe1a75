"""`tokenforce watch`: a live table of scans, or one JSON line for every change."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokenforce.cli import output
from tokenforce.cli.exit_codes import ExitCode, code_of_scan, complain, explain, reporting
from tokenforce.cli.options import Debug, Url, scan_ids
from tokenforce.cli.output import visible
from tokenforce.cli.progress import duration
from tokenforce.sdk import scans as calls
from tokenforce.sdk.calls import Call, Page
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import ScanFailed
from tokenforce.sdk.retries import PATIENCE, Looks
from tokenforce.wire.scans import Scan, ScanStatus

PAUSE_SECONDS = 2.0
LARGEST_PAGE = 200
RUNNING = [status.value for status in ScanStatus if not status.final]
BAR_CELLS = 10
STYLES = {
    "hidden_text": "bold red",
    "suspicious": "yellow",
    "memorised": "yellow",
    "clean": "green",
    "failed": "red",
    "cancelled": "dim",
    "queued": "dim",
}


def watch(
    scan_id: Annotated[str | None, typer.Argument(metavar="ID", help="Id of a scan.", autocompletion=scan_ids)] = None,
    recent: Annotated[
        int, typer.Option(min=1, max=200, help="Number of newest scans to show beside the running ones.")
    ] = 20,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two updates.")] = PAUSE_SECONDS,
    url: Url = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON line per change (the default when stdout is not a terminal)."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Watch one scan until it ends, or all scans.

    With an ID: exits as `show` does; Ctrl-C stops watching, not the scan, and exits with 130.
    Without an ID: shows the running and the newest scans; Ctrl-C quits and exits with 0.
    """
    with reporting(debug), Client(url) as client:
        looks = updates(client, scan_id, recent=recent, pause=every)
        try:
            last = _print_lines(looks) if as_json or not output.stdout().is_terminal else _show_table(looks)
        except KeyboardInterrupt:
            if scan_id is not None:
                raise
            raise typer.Exit(ExitCode.clean) from None
        for scan in last:
            if scan.status is ScanStatus.failed:
                complain(explain(ScanFailed(scan)))
            raise typer.Exit(code_of_scan(scan))


def updates(client: Client, scan_id: str | None, *, recent: int, pause: float) -> Iterator[list[Scan]]:
    """The scan, or all running and the `recent` newest ones, as they are at each look; newest first.

    One scan: ends after the scan has ended. Many: never ends. Raises what `client.scans.get` and `iter` raise.
    """
    if scan_id is None:
        yield from _many(client, recent, pause)
        return
    looks = Looks(calls.get_call(scan_id))
    while True:
        scan = client.transport.send(looks.next())
        yield [scan]
        if scan.status.final:
            return
        time.sleep(pause)


def _many(client: Client, recent: int, pause: float) -> Iterator[list[Scan]]:
    running: set[str] = set()
    while True:
        shown = {scan.id: scan for scan in client.transport.items(_list(LARGEST_PAGE, RUNNING))}
        # A scan in both lists: the later look counts.
        shown |= {scan.id: scan for scan in client.transport.send(_list(recent)).items}
        # A scan that ran at the last look and is in neither list has ended: show its end once.
        shown |= {gone: client.transport.send(Looks(calls.get_call(gone)).next()) for gone in running - shown.keys()}
        yield sorted(shown.values(), key=lambda scan: scan.created_at, reverse=True)
        running = {scan.id for scan in shown.values() if not scan.status.final}
        time.sleep(pause)


def _list(size: int, status: Sequence[str] = ()) -> Call[Page[Scan]]:
    return replace(calls.list_call(status=status, page_size=size), attempts=PATIENCE)


def _show_table(looks: Iterable[list[Scan]]) -> list[Scan]:
    scans: list[Scan] = []
    with Live(console=output.stdout(), auto_refresh=False) as live:
        for scans in looks:
            live.update(watch_table(scans) if scans else "no scans", refresh=True)
    return scans


def _print_lines(looks: Iterable[list[Scan]]) -> list[Scan]:
    scans: list[Scan] = []
    known: dict[str, Scan] = {}
    for scans in looks:
        for scan in scans:
            if known.get(scan.id) != scan:
                output.print_json(scan.model_dump_json())
        known = {scan.id: scan for scan in scans}
    return scans


def watch_table(scans: Iterable[Scan]) -> Table:
    """One row per scan, running scans first. `state` is the verdict as soon as there is one.

    Names of models can be hostile: the table shows their control characters and markup, and obeys none.
    """
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
        return ProgressBar(total=1, completed=1, width=BAR_CELLS)
    if scan.status.final or not progress.total:
        return Text("")
    return ProgressBar(total=progress.total, completed=min(progress.done, progress.total), width=BAR_CELLS)


def _speed(scan: Scan) -> str:
    speed = scan.progress.tokens_per_second
    return "" if scan.status.final or speed is None else f"{speed:.0f}"


def _left(scan: Scan) -> str:
    seconds = scan.progress.eta_seconds
    return "" if scan.status.final or seconds is None else duration(seconds)
