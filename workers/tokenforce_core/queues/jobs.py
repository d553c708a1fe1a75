"""The job contract: names of queues and jobs.

Jobs are queued by name, so the gateway never imports worker code. Payloads are JSON. A process runs only the functions
of `JobName`, whatever a job in Redis asks for; RQ by itself imports and calls any dotted name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry
from rq.exceptions import DuplicateJobError
from rq.job import Job

from tokenforce.wire.scans import Priority
from tokenforce_core.queues.counters import RETRIES, count
from tokenforce_core.queues.job_context import job_context

CONTROL_QUEUE = "control"
MODEL_QUEUE_PREFIX = "scan."
SERIALIZER = "json"
_PRIORITY_MARK = "."


class JobName(StrEnum):
    """The dotted names of all jobs. Nothing else is ever run."""

    plan = "tokenforce_service.planning.job.plan"
    search = "tokenforce_workers.jobs.search.search"
    sweep = "tokenforce_workers.jobs.sweep.sweep"
    contrast = "tokenforce_workers.jobs.contrast.contrast"
    confirm = "tokenforce_workers.jobs.confirm.confirm"
    aggregate = "tokenforce_service.reports.job.aggregate"


_STEMS = "|".join(name.rpartition(".")[2] for name in JobName)
_JOB_ID = re.compile(rf"(?P<scan>.+?)-(?:{_STEMS})(?:-\d+)?")


class ForbiddenJob(Exception):
    """A job in Redis names something that is not on the allow-list."""


class ListedJob(Job):
    """An RQ job that resolves only the names of `JobName`."""

    @property
    def func(self) -> Callable[..., Any]:
        if self.func_name not in set(JobName) or self.instance is not None:
            raise ForbiddenJob(f"job {self.id} asks for {self.func_name!r}, which is not allowed")
        module, _, name = (self.func_name or "").rpartition(".")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function

    def _execute(self) -> Any:
        with job_context(self.connection, (self.func_name or "").rpartition(".")[2], self.args):
            return super()._execute()

    def retry(self, queue: Queue, pipeline: Pipeline) -> None:
        """Put a job that failed, or whose worker died, back into its queue."""
        super().retry(queue, pipeline)
        count(pipeline, RETRIES)

    # RQ would import and call these by name too; no job of ours has any.
    success_callback = failure_callback = stopped_callback = property(lambda _: None)


def model_queue(digest: str, dtype: str | None, priority: Priority = Priority.normal) -> str:
    """The queue of one model at one priority. Workers find queues by their prefix."""
    model = f"{MODEL_QUEUE_PREFIX}{digest.removeprefix('sha256:')[:16]}-{dtype or 'auto'}"
    return model if priority is Priority.normal else f"{model}{_PRIORITY_MARK}{priority.value}"


def priority_of(queue_name: str) -> Priority:
    """The priority of a model's queue."""
    _, _, last = queue_name.rpartition(_PRIORITY_MARK)
    return Priority(last) if last in (Priority.low, Priority.high) else Priority.normal


def model_of(queue_name: str) -> str:
    """The part of a queue's name that all queues of one model share."""
    return queue_name.removesuffix(f"{_PRIORITY_MARK}{priority_of(queue_name).value}")


def queue(name: str, connection: Redis) -> Queue:
    return Queue(name, connection=connection, serializer=SERIALIZER, job_class=ListedJob)


def job_id(scan_id: str, name: JobName, shard: int | None = None) -> str:
    """Deterministic, so that enqueueing the same work twice is one job."""
    stem = f"{scan_id}-{name.rpartition('.')[2]}"
    return stem if shard is None else f"{stem}-{shard}"


def scan_of_job(job: str) -> str | None:
    """The scan that a job belongs to; None if the job is not ours."""
    found = _JOB_ID.fullmatch(job)
    return found["scan"] if found else None


def enqueue(
    connection: Redis,
    queue_name: str,
    name: JobName,
    scan_id: str,
    shard: int | None = None,
    *,
    timeout: int,
    first: bool = False,
) -> bool:
    """Queue one job; False if it is queued already or has run.

    Args:
        timeout: seconds that the job may run.
        first: at the front of the queue.
    """
    arguments = [scan_id] if shard is None else [scan_id, shard]
    try:
        queue(queue_name, connection).enqueue(
            str(name),
            args=arguments,
            job_id=job_id(scan_id, name, shard),
            unique=True,
            at_front=first,
            job_timeout=timeout,
            result_ttl=3600,
            failure_ttl=7 * 86400,
            retry=Retry(max=2),  # every job is idempotent, and its process may be stopped or crash
        )
    except DuplicateJobError:
        return False
    return True
