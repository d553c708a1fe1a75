"""Which queue the worker takes next, and when it asks to be replaced."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from redis import Redis
from rq.job import Job

from tokenforce.wire.scans import ScanRequest
from tokenforce_core.queues.jobs import JobName, enqueue, job_id, queue
from tokenforce_core.scans.store import Store
from tokenforce_workers.engine.engine_cache import EngineCache
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.jobs.control import Stopping
from tokenforce_workers.settings import WorkerSettings


@pytest.fixture
def worker(redis: Redis, machine: Machine) -> Any:
    """A worker that has not loaded any model, fair after two shards."""
    from tokenforce_workers.rq_worker import GpuWorker

    return GpuWorker(EngineCache(Store(redis), WorkerSettings(fair_after=2), machine), redis, "worker-1")


def fill(redis: Redis, name: str, shards: int, scan: str) -> None:
    for shard in range(shards):
        enqueue(redis, name, JobName.sweep, scan, shard, timeout=60)


def take(worker: Any) -> str:
    found = worker._dequeue()
    assert found is not None
    return str(found[1].name)


def test_the_warm_model_first_then_the_others_get_their_share(redis: Redis, worker: Any) -> None:
    fill(redis, "scan.a", 2, "scan_a")
    fill(redis, "scan.b", 5, "scan_b")
    assert take(worker) == "scan.b"  # nothing is warm: the longest queue
    assert take(worker) == "scan.b"
    assert take(worker) == "scan.a"  # two shards of one model were its fair share
    fill(redis, "scan.c", 9, "scan_c")  # a queue that is new since the start
    assert take(worker) == "scan.a"
    assert take(worker) == "scan.c"


def test_control_jobs_are_not_for_this_worker(redis: Redis, worker: Any) -> None:
    enqueue(redis, "control", JobName.plan, "scan_a", timeout=60)
    assert worker._dequeue() is None


def test_a_taken_job_is_never_only_in_memory(redis: Redis, worker: Any) -> None:
    """LMOVE: until the job has started it stays in the queue's intermediate list, where a reaper finds it."""
    fill(redis, "scan.a", 1, "scan_a")
    take(worker)
    assert redis.lrange("rq:queue:scan.a:intermediate", 0, -1) == [job_id("scan_a", JobName.sweep, 0).encode()]


def failed_with(worker: Any, redis: Redis, error: Exception) -> Job:
    fill(redis, "scan.a", 1, "scan_a")
    job = queue("scan.a", redis).fetch_job(job_id("scan_a", JobName.sweep, 0))
    assert job is not None
    try:
        raise error
    except type(error):
        worker.handle_exception(job, *sys.exc_info())
    return job


def test_a_broken_engine_ends_the_process(redis: Redis, worker: Any) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    from tokenforce_workers.engine.vllm_engine import EngineUnclean

    failed_with(worker, redis, ValueError("the job's own"))
    assert not worker._stop_requested
    for broken in (EngineUnclean("x"), EngineDeadError()):
        worker._stop_requested = False
        failed_with(worker, redis, broken)
        assert worker._stop_requested


@pytest.mark.parametrize("spoilt", ["request", "created_at"])
def test_a_scan_that_cannot_be_read_does_not_end_the_heartbeat(
    redis: Redis, worker: Any, caplog: pytest.LogCaptureFixture, spoilt: str
) -> None:
    Store(redis).create("scan_a", ScanRequest(model="org/a"), "local")
    if spoilt == "request":
        redis.hset("tf:scan:scan_a", "request", "{}")
    else:
        redis.hdel("tf:scan:scan_a", spoilt)
    fill(redis, "scan.a", 1, "scan_a")
    worker._note_model(queue("scan.a", redis).fetch_job(job_id("scan_a", JobName.sweep, 0)))
    assert "the statistics will show the model before" in caplog.text


def test_a_shutdown_costs_the_shard_no_retry(redis: Redis, worker: Any) -> None:
    fill(redis, "scan.a", 1, "scan_a")
    assert failed_with(worker, redis, Stopping("now")).retries_left == 3
    assert failed_with(worker, redis, ValueError("x")).retries_left == 2
