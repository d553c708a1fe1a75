"""Where `tokenforce watch` hears what is new. The only place to change when there is a better way than asking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from tokenforce import flows
from tokenforce.client import Client
from tokenforce.types import Scan, ScanPage
from tokenforce.waiting import Watch

FIRST_LOOK = 200
"""Scans that are looked through once for running ones."""
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
    watch = _watch(scan_id)
    while True:
        scan = client._send(watch.look())
        yield [scan]
        if scan.status.final:
            return
        time.sleep(pause)


def _many(client: Client, recent: int, pause: float) -> Iterator[list[Scan]]:
    first = client._send(_newest(max(FIRST_LOOK, recent))).items
    newest, rest = first[:recent], first[recent:]
    older: dict[str, Watch] = {}
    """Active scans that newer ones have pushed out of the page."""
    while True:
        older |= {scan.id: _watch(scan.id) for scan in rest if not scan.status.final}
        looks = [client._send(watch.look()) for watch in older.values()]
        yield sorted([*newest, *looks], key=lambda scan: scan.created_at, reverse=True)
        for ended in (scan for scan in looks if scan.status.final):
            del older[ended.id]
        time.sleep(pause)
        before, newest = newest, client._send(_newest(recent)).items
        here = {scan.id for scan in newest}
        rest = [scan for scan in before if scan.id not in here]


def _newest(size: int) -> flows.Call[ScanPage]:
    return replace(flows.list_scans(page_size=size), attempts=PATIENCE)


def _watch(scan_id: str) -> Watch:
    return Watch(scan_id, timeout=None, poll=1.0, on_progress=None)
