"""`tokenforce watch`: scans as they go on, as a live table, or as one JSON line a change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.live import Live

from tokenforce.cli import output
from tokenforce.cli.exit_codes import ExitCode, code_of_scan, complain, explain, reporting
from tokenforce.cli.options import Debug, Url, scan_ids
from tokenforce.cli.render_watch import watch_table
from tokenforce.cli.updates import updates
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import ScanFailed
from tokenforce.wire.scans import Scan, ScanStatus

PAUSE = 2.0


def watch(
    scan_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The id of a scan.", autocompletion=scan_ids)
    ] = None,
    recent: Annotated[int, typer.Option(min=1, max=200, help="Newest scans to show beside the active ones.")] = 20,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = PAUSE,
    url: Url = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each scan that changed as one line of JSON; so too without terminal.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Watch one scan until it ends, or all that run and the newest ones until Ctrl-C.

    Of one scan the exit code is that of `show`; Ctrl-C then exits with 130, and the scan goes on. Of many Ctrl-C is
    the usual end: it exits with 0.
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
