"""Cancels, kills and refusals: nothing is lost and nothing is left behind."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.stack_process import RunningStack, wait_until, whole_stack
from tests.support.tiny_model import HIDDEN_TEXT
from tokenforce import Client, ScanFailed
from tokenforce.wire.scans import Scan, ScanStatus
from tokenforce.wire.stats import WorkerState
from tokenforce_core.queues.jobs import MODEL_QUEUE_PREFIX


def start_long_scan(client: Client, model: Path, tokens: int = 440) -> Scan:
    """Nothing is pruned and nothing ends early: a quarter of a million tokens, long enough to disturb.

    `tokens`: of each vocabulary entry.
    """
    return client.scans.create(
        model=str(model),
        preset="paper",
        contexts=["assistant"],
        alpha=tokens,
        beta=tokens,
        floor=0.0,
        keep=10_000,
        force=True,
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


def until(client: Client, scan_id: str, condition: Callable[[ScanStatus, int], bool], seconds: float = 120) -> None:
    def met() -> bool:
        scan = client.scans.get(scan_id)
        assert scan.status is not ScanStatus.failed, scan.error
        return condition(scan.status, scan.progress.done)

    wait_until(met, seconds, lambda: str(client.scans.get(scan_id)))


def test_a_cancel_stops_the_engine_and_keeps_it_warm(stack: RunningStack, client: Client, planted_model: Path) -> None:
    client.scans.wait(client.scans.create(model=str(planted_model), contexts=["assistant"], force=True).id, timeout=240)
    before = worker_process(stack).pid
    loads = stack.log("worker-0").count("engine warm")
    long = start_long_scan(client, planted_model)
    until(client, long.id, lambda status, done: status is ScanStatus.sweeping)
    time.sleep(1)
    assert client.scans.cancel(long.id).status is ScanStatus.cancelled
    started = time.monotonic()
    again = client.scans.wait(
        client.scans.create(model=str(planted_model), contexts=["assistant"], force=True).id, timeout=60
    )
    assert time.monotonic() - started < 30  # the long scan alone would hold the engine longer
    assert again.status is ScanStatus.succeeded
    assert client.scans.get(long.id).status is ScanStatus.cancelled
    assert worker_process(stack).pid == before
    assert stack.log("worker-0").count("engine warm") == loads


def test_a_killed_worker_costs_time_and_no_result(stack: RunningStack, client: Client, planted_model: Path) -> None:
    undisturbed = client.scans.create(
        model=str(planted_model), contexts=["assistant"], alpha=60, floor=0.0, keep=50, force=True
    )
    client.scans.wait(undisturbed.id, timeout=240)
    scan = client.scans.create(
        model=str(planted_model), contexts=["assistant"], alpha=60, floor=0.0, keep=50, force=True
    )
    until(client, scan.id, lambda status, done: status is ScanStatus.sweeping and done > 0)
    worker_process(stack).kill()
    ended = client.scans.wait(scan.id, timeout=240)
    assert ended.progress.done == ended.progress.total
    first, second = client.scans.report(undisturbed.id), client.scans.report(scan.id)
    assert second.findings == first.findings
    assert second.scan.forced == first.scan.forced


def worker_is_busy(stack: RunningStack, client: Client, scan_id: str) -> bool:
    """Whether a shard of this scan runs just now, on the process that holds the engine now."""
    found = worker_process_or_none(stack)
    if found is None:
        return False
    # By its process id: one that died may still be listed.
    own = [each for each in client.stats.get().workers if f"-{found.pid}-" in each.name]
    return [(each.state, each.scan_id) for each in own] == [(WorkerState.busy, scan_id)]


def running(client: Client) -> int:
    return sum(queue.running for queue in client.stats.get().queues if queue.name.startswith(MODEL_QUEUE_PREFIX))


def given_back(stack: RunningStack) -> int:
    """How many jobs were put back into their queues so far."""
    lines = httpx.get(f"{stack.url}/metrics", headers=stack.bearer, timeout=30).text.splitlines()
    return sum(int(float(line.split()[1])) for line in lines if line.startswith("tokenforce_job_retries_total "))


def test_a_stopped_worker_gives_its_shard_back_at_once(
    stack: RunningStack, client: Client, planted_model: Path, lease_seconds: int
) -> None:
    """SIGTERM, as a deployment sends it, more often than a failing shard may be tried, each in the middle of one."""
    scan = start_long_scan(client, planted_model, tokens=200)  # shards of seconds
    first, progress = given_back(stack), 0
    while given_back(stack) < first + 3:  # a signal between two shards has nothing to give back: once more then

        def works_on(status: ScanStatus, done: int, before: int = progress) -> bool:
            assert not status.final, "it ended before its worker was stopped three times"
            return done > before and worker_is_busy(stack, client, scan.id)

        until(client, scan.id, works_on)
        stopped = worker_process(stack)
        stopped.terminate()
        # A lease is renewed at every quarter, so none lapses before this: the worker itself gave its shard back.
        wait_until(lambda: running(client) == 0, lease_seconds * 3 / 4)
        stopped.wait(20)
        progress = client.scans.get(scan.id).progress.done
    ended = client.scans.wait(scan.id, timeout=240)
    assert ended.status is ScanStatus.succeeded
    assert ended.progress.done == ended.progress.total


def test_a_model_that_the_engine_refuses_fails_alone(
    stack: RunningStack, client: Client, models: Path, planted_model: Path
) -> None:
    folder = models / "unfinished"
    shutil.copytree(planted_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    scan = client.scans.create(model=str(folder))
    with pytest.raises(ScanFailed) as failed:
        client.scans.wait(scan.id, timeout=120)
    assert failed.value.scan.error is not None
    assert failed.value.scan.error.code == "engine_failed"
    assert "could not load" in failed.value.scan.error.detail
    good = client.scans.wait(
        client.scans.create(model=str(planted_model), contexts=["assistant"], force=True).id, timeout=240
    )
    assert client.scans.report(good.id).findings[0].text == HIDDEN_TEXT


def test_a_restart_of_everything_goes_on_where_it_was(tmp_path: Path, models: Path, planted_model: Path) -> None:
    """Kill -9 of the whole stack in mid-sweep; a new one on the same home finishes the scan."""
    settings = {"TOKENFORCE_SHARD_SIZE": "64", "TOKENFORCE_LEASE_SECONDS": "4", "TOKENFORCE_REAP_SECONDS": "0.5"}
    settings |= {"TOKENFORCE_KV_CACHE_GIB": "0.5", "TOKENFORCE_MAX_NUM_SEQS": "32"}
    with whole_stack(tmp_path / "home", models, **settings) as first:
        with Client(first.url, key=first.key) as client:
            scan = client.scans.create(model=str(planted_model), contexts=["assistant"], alpha=60, floor=0.0, keep=20)
            until(client, scan.id, lambda status, done: status is ScanStatus.sweeping and done >= 64)
        left = first.processes()
        first.child.kill()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], "the stack left processes behind"
    with whole_stack(tmp_path / "home", models, **settings) as second, Client(second.url, key=second.key) as client:
        before = client.scans.get(scan.id)
        assert before.progress.done >= 64
        ended = client.scans.wait(scan.id, timeout=240)
        assert ended.status is ScanStatus.succeeded
        assert client.scans.report(scan.id).findings
        left = second.processes()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], "an orderly stop left processes behind"
