"""`make bench`: does a poll stay fast with 10,000 scans in the store?

Starts a real Valkey and a real gateway, fills the store, then has several clients ask for one scan, for a page and for
`/healthz` in turn, as fast as they are answered, for some seconds. All three are measured in the same run and under the
same load, so that what they share (the server, the thread pool, this machine) is in each. Prints p50 and p99; ends
with status 1 if p99 of a poll is over three times that of `/healthz`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from redis import Redis

from tests.support.keys import bearer
from tests.support.scan_results import example_plan, example_report
from tests.support.stack_process import gateway, valkey
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.scans.stages import start_first_stage
from tokenforce_core.scans.store import Store

ALLOWED_RATIO = 3.0
PLAN_PADDING = " " * 200_000
"""A real plan names what is skipped and forced of 150,000 entries; polls must not pay for it."""


def fill(store: Store, scans: int) -> list[str]:
    """Scans of 50 models: half succeeded, the rest cancelled, waiting or sweeping with progress."""
    ids = [f"scan_{number:016x}" for number in range(scans)]
    for number, scan_id in enumerate(ids):
        store.create(scan_id, ScanRequest(model=f"org/model-{number % 50}"), "local")
        if number % 10 < 8:
            store.advance(scan_id, ScanStatus.planning, ScanStatus.queued)
            store.set_plan(scan_id, example_plan())
            store.advance(scan_id, ScanStatus.sweeping, ScanStatus.planning)
            store.work.note_progress(scan_id, "0", 5, 20)
        if number % 10 < 5:
            store.advance(scan_id, ScanStatus.aggregating, ScanStatus.sweeping)
            store.finish(scan_id, example_report(scan_id))
        elif number % 10 == 5:
            store.cancel(scan_id)
    running = f"scan_{scans:016x}"
    store.create(running, ScanRequest(model="org/model-0"), "local")
    store.advance(running, ScanStatus.planning, ScanStatus.queued)
    start_first_stage(store, running, example_plan())
    plan: Any = store.connection.hget(f"tf:scan:{running}", "plan")
    store.connection.hset(f"tf:scan:{running}", "plan", plan.decode() + PLAN_PADDING)
    return [*ids, running]


class Load:
    """Clients that ask in turn, each with a key and a connection of its own, and how long each answer took."""

    def __init__(self, url: str, keys: list[dict[str, str]], ids: list[str]) -> None:
        self._url, self._keys, self._ids = url, keys, ids
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def run(self, seconds: float) -> None:
        with ThreadPoolExecutor(len(self._keys)) as threads:
            asking = [threads.submit(self._ask, number) for number in range(len(self._keys))]
            time.sleep(seconds)
            self._stop.set()
        for client in asking:
            client.result()

    def _ask(self, seed: int) -> None:
        choose = random.Random(seed)
        mine: dict[str, list[float]] = defaultdict(list)
        with httpx.Client(base_url=self._url, headers=self._keys[seed], timeout=60) as http:
            etag = ""
            while not self._stop.is_set():
                self._timed(mine, http, "/healthz", "/healthz")
                self._timed(mine, http, "poll", f"/v1/scans/{choose.choice(self._ids)}")
                self._timed(mine, http, "/healthz", "/healthz")
                etag = self._timed(mine, http, "poll, 304", f"/v1/scans/{self._ids[-1]}", etag)
                page = choose.choice(["status=sweeping", "model=org/model-7", "status=failed", "limit=50"])
                self._timed(mine, http, "page of 50", f"/v1/scans?{page}")
        with self._lock:
            for name, found in mine.items():
                self.seconds[name] += found

    def _timed(self, mine: dict[str, list[float]], http: httpx.Client, name: str, path: str, etag: str = "") -> str:
        headers = {"If-None-Match": etag} if etag else {}
        started = time.perf_counter()
        answer = http.get(path, headers=headers)
        mine[name].append(time.perf_counter() - started)
        assert answer.status_code in (200, 304), answer.text
        return str(answer.headers.get("etag", ""))


def report(seconds: dict[str, list[float]]) -> float:
    """Print the table; returns p99 of a poll as a multiple of that of `/healthz`."""
    percentiles = {name: quantiles(found, n=100) for name, found in seconds.items()}
    base = percentiles["/healthz"]
    sys.stdout.write(f"{'':12} {'requests':>8} {'p50 ms':>8} {'p99 ms':>8} {'p99 / healthz':>14}\n")
    for name, found in sorted(percentiles.items()):
        ratio = found[98] / base[98]
        numbers = f"{len(seconds[name]):8} {found[49] * 1e3:8.1f} {found[98] * 1e3:8.1f} {ratio:14.2f}"
        sys.stdout.write(f"{name:12} {numbers}\n")
    return percentiles["poll"][98] / base[98]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.polls", description=__doc__)
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with valkey(folder) as server:
            connection = Redis.from_url(server.url)
            started = time.perf_counter()
            ids = fill(Store(connection), options.scans)
            sys.stdout.write(f"{len(ids)} scans stored in {time.perf_counter() - started:.1f} s; ")
            memory: Any = connection.info("memory")
            sys.stdout.write(f"{memory['used_memory'] / 1e6:.0f} MB in Redis; {options.clients} clients\n")
            with gateway(folder, server.url, folder) as http:
                load = Load(str(http.base_url), [bearer(connection) for _ in range(options.clients)], ids)
                load.run(options.seconds)
    ratio = report(load.seconds)
    sys.stdout.write(f"p99 of a poll is {ratio:.2f} times that of /healthz; {ALLOWED_RATIO:g} are allowed\n")
    return 0 if ratio <= ALLOWED_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
