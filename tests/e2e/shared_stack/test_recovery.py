"""Cancels, kills and refusals: nothing is lost and nothing is left behind."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from redis import Redis

from tests.support.scanning import ended, scanned, until
from tests.support.stack_process import RunningStack, wait_until
from tests.support.tiny_model import HIDDEN_TEXT
from tokenforce import Client, ScanFailed
from tokenforce.wire.scans import Scan, ScanStatus
from tokenforce.wire.stats import WorkerState
from tokenforce_core.queues.jobs import MODEL_QUEUE_PREFIX, JobName, job_id


def start_long_scan(client: Client, model: Path, tokens: int = 440) -> Scan:
    """Nothing is pruned and nothing ends early: long enough to disturb.

    `tokens`: of each vocabulary entry in the sweep.
    """
    return client.scans.create(
        model=str(model), preset="paper", contexts=["assistant"], alpha=tokens, beta=20, floor=0.0, keep=20, force=True
    )


def worker_process(stack: RunningStack) -> psutil.Process:
    """The supervised process that holds the engine."""
    found = worker_process_or_none(stack)
    assert found is not None
    return found


def worker_process_or_none(stack: RunningStack) -> psutil.Process | None:
    (supervisor,) = [p for p in stack.processes() if p.cmdline()[-1:] == ["tokenforce_workers"]]
    children = [child for child in supervisor.children() if child.status() != psutil.STATUS_ZOMBIE]
    return children[0] if children else None


def worker_is_busy(stack: RunningStack, client: Client, scan_id: str) -> bool:
    """Whether a shard of this scan runs just now, on the process that holds the engine now."""
    found = worker_process_or_none(stack)
    if found is None:
        return False
    # By its process id: one that died may still be listed.
    own = [each for each in client.stats.get().workers if f"-{found.pid}-" in each.name]
    return [(each.state, each.scan_id) for each in own] == [(WorkerState.busy, scan_id)]


def test_a_cancel_stops_the_engine_and_keeps_it_warm(stack: RunningStack, client: Client, planted_model: Path) -> None:
    scanned(client, planted_model, contexts=["assistant"])
    before = worker_process(stack).pid
    loads = stack.log("worker-0").count("engine warm")
    long = start_long_scan(client, planted_model)
    until(client, long.id, lambda status, _: status is ScanStatus.sweeping and worker_is_busy(stack, client, long.id))
    assert client.scans.cancel(long.id).status is ScanStatus.cancelled
    started = time.monotonic()
    scanned(client, planted_model, contexts=["assistant"])
    assert time.monotonic() - started < 30  # the long scan alone would hold the engine longer
    assert client.scans.get(long.id).status is ScanStatus.cancelled
    assert worker_process(stack).pid == before
    assert stack.log("worker-0").count("engine warm") == loads


def test_a_killed_worker_costs_time_and_no_result(stack: RunningStack, client: Client, planted_model: Path) -> None:
    options: dict[str, Any] = {"contexts": ["assistant"], "alpha": 60, "floor": 0.0, "keep": 50}
    undisturbed = scanned(client, planted_model, **options)
    scan = client.scans.create(model=str(planted_model), force=True, **options)
    until(client, scan.id, lambda status, done: status is ScanStatus.sweeping and done > 0)
    worker_process(stack).kill()
    last = ended(client, scan)
    assert last.progress.done == last.progress.total
    disturbed = client.scans.report(scan.id)
    assert disturbed.findings == undisturbed.findings
    assert disturbed.scan.forced == undisturbed.scan.forced


def running(client: Client) -> int:
    return sum(queue.running for queue in client.stats.get().queues if queue.name.startswith(MODEL_QUEUE_PREFIX))


def given_back(stack: RunningStack) -> int:
    """How many jobs were put back into their queues so far."""
    lines = httpx.get(f"{stack.url}/metrics", headers=stack.bearer, timeout=30).text.splitlines()
    return sum(int(float(line.split()[1])) for line in lines if line.startswith("tokenforce_job_retries_total "))


def leave_no_tries(stack: RunningStack, scan_id: str) -> None:
    """A shard of this scan that fails from now on is not tried again; those that run keep their tries."""
    with Redis.from_url(stack.redis_url) as redis:
        for key in redis.scan_iter(f"rq:job:{job_id(scan_id, JobName.sweep)}-*"):
            redis.hset(key, "retries_left", 0)


def test_a_stopped_worker_gives_its_shard_back_at_once(
    stack: RunningStack, client: Client, planted_model: Path, lease_seconds: int
) -> None:
    """SIGTERM in the middle of a shard, as a deployment sends it: not even one that may not fail is lost by it."""
    scan = start_long_scan(client, planted_model, tokens=200)  # shards of seconds
    until(client, scan.id, lambda status, _: status is ScanStatus.sweeping)
    leave_no_tries(stack, scan.id)
    first, progress = given_back(stack), client.scans.get(scan.id).progress.done
    while given_back(stack) == first:  # a signal between two shards has nothing to give back: once more then

        def works_on(status: ScanStatus, done: int, before: int = progress) -> bool:
            assert not status.final, "it ended before its worker was stopped in a shard"
            return done > before and worker_is_busy(stack, client, scan.id)

        until(client, scan.id, works_on)
        stopped = worker_process(stack)
        stopped.terminate()
        # A lease is renewed at every quarter, so none lapses before this: the worker itself gave its shard back.
        wait_until(lambda: running(client) == 0, lease_seconds * 3 / 4)
        stopped.wait(20)
        progress = client.scans.get(scan.id).progress.done
    last = ended(client, scan)
    assert last.progress.done == last.progress.total


def test_a_model_that_the_engine_refuses_fails_alone(
    stack: RunningStack, client: Client, models: Path, planted_model: Path
) -> None:
    folder = models / "unfinished"
    shutil.copytree(planted_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    scan = client.scans.create(model=str(folder))
    with pytest.raises(ScanFailed) as failed:
        ended(client, scan)
    assert failed.value.scan.error is not None
    assert failed.value.scan.error.code == "engine_failed"
    assert "could not load" in failed.value.scan.error.detail
    assert scanned(client, planted_model, contexts=["assistant"]).findings[0].text == HIDDEN_TEXT
