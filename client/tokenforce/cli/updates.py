"""Where `tokenforce watch` hears what is new. The only place to change when there is a better way than asking."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tokenforce.sdk import scans
from tokenforce.sdk.calls import Call, Page
from tokenforce.sdk.client import Client
from tokenforce.sdk.retries import Looks
from tokenforce.wire.scans import Scan, ScanStatus

RUNNING = [status.value for status in ScanStatus if not status.final]
LARGEST_PAGE = 200
PATIENCE = 8
"""Attempts per request: enough for a restart of the service."""


def updates(client: Client, scan_id: str | None, *, recent: int, pause: float) -> Iterator[list[Scan]]:
    """The scan, or all active and the `recent` newest ones, as they are at each look; newest first.

    Ends when the one scan has ended; of many there is no end. A scan that is looked at by itself costs a 304 while
    nothing is new (RFC 9110, 13.1.2). Raises what `client.scans.get` and `iter` raise.
    """
    if scan_id is None:
        yield from _many(client, recent, pause)
        return
    looks = Looks(scans.get_call(scan_id))
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
        # Of a scan in both lists the later look counts.
        shown |= {scan.id: scan for scan in client.transport.send(_list(recent)).items}
        # What ran at the last look and is in neither list has ended: it is shown once more, with how.
        shown |= {gone: client.transport.send(Looks(scans.get_call(gone)).next()) for gone in running - shown.keys()}
        yield sorted(shown.values(), key=lambda scan: scan.created_at, reverse=True)
        running = {scan.id for scan in shown.values() if not scan.status.final}
        time.sleep(pause)


def _list(size: int, status: Sequence[str] = ()) -> Call[Page[Scan]]:
    return replace(scans.list_call(status=status, page_size=size), attempts=PATIENCE)
