"""What takes too long is ended: a shard over its deadline, an engine that makes no step, a load that never ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.job import Job, JobStatus

from tests.support.scan_results import example_plan
from tests.support.scripted_decoder import ScriptedDecoder
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.queues.jobs import SERIALIZER, JobName, enqueue, job_id, queue
from tokenforce_core.scans.stages import start_first_stage
from tokenforce_core.scans.store import Store
from tokenforce_service.scans.reaper import Reaper
from tokenforce_workers.engine import engine_cache
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.settings import WorkerSettings

PLAN = example_plan()


@pytest.fixture
def worker_with(redis: Redis, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a worker with these settings; its jobs find its state."""

    def made(**settings: Any) -> Any:
        from tokenforce_workers.rq_worker import GpuWorker

        state = engine_cache.EngineCache(Store(redis), WorkerSettings(**settings), machine)
        monkeypatch.setattr(engine_cache, "_state", state)
        worker: Any = GpuWorker(state, redis, "worker-1")
        worker.register_birth()
        return worker

    return made


def sweep_one_shard(worker: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> JobStatus:
    """The worker takes the first shard of a new scan, on an engine that makes a step for each token."""
    engine = ScriptedDecoder(lambda _: [(5, 0.99)] * 100)
    monkeypatch.setattr("tokenforce_workers.jobs.scan_job.target_engine", lambda *_: engine)
    monkeypatch.setattr("tokenforce_workers.jobs.scan_job.decoder_of_ids", lambda _: str)
    store.create("scan_1", ScanRequest(model="/models/example"), "local")
    store.advance("scan_1", ScanStatus.planning, ScanStatus.queued)
    start_first_stage(store, "scan_1", PLAN)
    job, from_queue = worker._dequeue()
    worker.execute_job(job, from_queue)
    return Job.fetch(job.id, connection=store.connection, serializer=SERIALIZER).get_status()


def test_a_shard_over_its_deadline_is_given_up_at_once_and_its_scan_with_it(
    worker_with: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_with(shard_deadline_seconds=1e-9)
    assert sweep_one_shard(worker, store, monkeypatch) is JobStatus.FAILED, "it would take as long again"
    Reaper(store).reap()
    row = store.row("scan_1")
    assert row is not None
    assert row.status is ScanStatus.failed
    assert row.error is not None
    assert row.error.code == ErrorCode.deadline_exceeded
    assert "lower keep or beta" in row.error.detail


def test_a_shard_within_its_deadline_is_committed(
    worker_with: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep_one_shard(worker_with(), store, monkeypatch) is JobStatus.FINISHED
    assert store.work.committed_shards("scan_1") == {0}


class Silence(threading.Event):
    """Set after so many waits, in each of which the engine was silent for so long: no test waits for real."""

    def __init__(self, state: engine_cache.EngineCache, seconds: float, waits: int) -> None:
        super().__init__()
        self._state, self._seconds, self._left = state, seconds, waits

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        assert timeout <= self._state.settings.lease_seconds / 2, "a lease has to be renewed before it lapses"
        self._state.last_step -= self._seconds
        self._left -= 1
        return self._left < 0


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What would have been killed, and by which signal."""
    found: list[tuple[int, int]] = []
    # In the worker's own name space only: other threads may need the real one.
    fake = SimpleNamespace(getpid=os.getpid, kill=lambda *call: found.append(call))
    monkeypatch.setattr("tokenforce_workers.rq_worker.os", fake)
    return found


def beat(worker: Any, silent_seconds: float, waits: int = 1) -> None:
    """The heartbeat's thread, in this one, for a job whose lease is about to lapse."""
    redis = worker.connection
    enqueue(redis, "scan.a", JobName.sweep, "scan_a", 0, timeout=60)
    job = queue("scan.a", redis).fetch_job(job_id("scan_a", JobName.sweep, 0))
    assert job is not None
    execution = worker.prepare_execution(job)
    redis.zadd("rq:wip:scan.a", {execution.composite_key: 1}, xx=True)
    worker._beat(job, execution, Silence(worker._state_of_engine, silent_seconds, waits))


@pytest.mark.parametrize(
    ("loading", "silent_seconds", "ended"),
    [(False, 50, False), (False, 150, True), (True, 150, False), (True, 250, True)],
)
def test_an_engine_that_hangs_ends_its_process_and_a_load_may_take_longer(
    worker_with: Callable[..., Any], killed: list[tuple[int, int]], loading: bool, silent_seconds: float, ended: bool
) -> None:
    worker = worker_with(stall_seconds=100, load_seconds=200)
    if loading:
        worker._state_of_engine._loading.set()
    beat(worker, silent_seconds)
    assert killed == ([(os.getpid(), signal.SIGKILL)] if ended else [])


def test_the_watchdog_outlives_an_outage(
    worker_with: Callable[..., Any], killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat that fails must not leave a hung engine behind."""
    worker, beats = worker_with(stall_seconds=100), []

    def unreachable(*_: object) -> None:
        beats.append(True)
        raise RedisConnectionError("gone")

    monkeypatch.setattr(worker, "maintain_heartbeats", unreachable)
    beat(worker, 40, waits=2)
    assert (len(beats), killed) == (2, [])
    beat(worker, 40, waits=3)
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_a_lease_is_renewed_while_its_shard_runs(worker_with: Callable[..., Any], redis: Redis) -> None:
    worker = worker_with(lease_seconds=30)
    beat(worker, 0)
    leases: Any = redis.zrange("rq:wip:scan.a", 0, -1, withscores=True)
    now: Any = redis.time()
    assert [25 <= until - now[0] <= 31 for _, until in leases] == [True]
