"""What RQ may run for us: named jobs only, as JSON, once."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Callback, Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.serializers import DefaultSerializer

from tokenforce_core.queues.jobs import CONTROL_QUEUE, SERIALIZER, JobName, ListedJob, enqueue, job_id, queue

TIMEOUT = 60


def work(redis: Redis) -> None:
    SimpleWorker([queue(CONTROL_QUEUE, redis)], connection=redis, job_class=ListedJob, serializer=SERIALIZER).work(
        burst=True, logging_level="CRITICAL"
    )


def test_the_same_work_is_enqueued_once(redis: Redis) -> None:
    assert enqueue(redis, CONTROL_QUEUE, JobName.plan, "scan_1", timeout=TIMEOUT)
    assert not enqueue(redis, CONTROL_QUEUE, JobName.plan, "scan_1", timeout=TIMEOUT)
    assert redis.llen(f"rq:queue:{CONTROL_QUEUE}") == 1


def test_payloads_hold_no_pickle(redis: Redis) -> None:
    enqueue(redis, "scan.x", JobName.sweep, "scan_1", 3, timeout=TIMEOUT)
    job = Job.fetch(job_id("scan_1", JobName.sweep, 3), connection=redis, serializer=SERIALIZER)
    assert (job.func_name, list(job.args)) == (JobName.sweep, ["scan_1", 3])
    raw: Any = redis.hgetall(job.key)
    assert not any(value.startswith(b"\x80") for value in raw.values())


def test_a_job_that_names_another_function_does_not_run(redis: Redis, tmp_path: Path) -> None:
    victim = tmp_path / "made-by-the-job"
    foreign = Queue(CONTROL_QUEUE, connection=redis, serializer=SERIALIZER)
    job = foreign.enqueue("os.mkdir", str(victim))
    work(redis)
    assert not victim.exists()
    assert job.get_status(refresh=True) is JobStatus.FAILED
    result = job.latest_result()
    assert result is not None
    assert "not allowed" in (result.exc_string or "")


def test_a_callback_in_a_job_is_not_resolved(redis: Redis) -> None:
    foreign = Queue(CONTROL_QUEUE, connection=redis, serializer=SERIALIZER)
    made = foreign.enqueue(str(JobName.plan), "scan_1", on_failure=Callback("os.mkdir"))
    assert made.failure_callback is not None
    assert ListedJob.fetch(made.id, connection=redis, serializer=SERIALIZER).failure_callback is None


def test_a_pickle_in_the_queue_is_not_read(redis: Redis, tmp_path: Path) -> None:
    victim = tmp_path / "made-by-the-pickle"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.mkdir, (victim,))

    Queue(CONTROL_QUEUE, connection=redis, serializer=DefaultSerializer).enqueue("os.getpid", Bomb())
    work(redis)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("perform_job", ["self", "job", "queue", "execution"]),
        ("maintain_heartbeats", ["self", "job", "execution"]),
        ("prepare_job_execution", ["self", "job", "remove_from_intermediate_queue"]),
        ("dequeue_job_and_maintain_ttl", ["self", "timeout", "max_idle_time"]),
        ("get_heartbeat_ttl", ["self", "job", "working_time"]),
        ("request_stop", ["self", "signum", "frame"]),
    ],
)
def test_rq_still_has_the_methods_that_the_gpu_worker_replaces(method: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(SimpleWorker, method)).parameters) == parameters
