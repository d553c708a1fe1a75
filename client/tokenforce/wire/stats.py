"""Wire types of `GET /v1/stats`: what the service is doing now."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from tokenforce.wire.base import WireAnswer


class WorkerState(StrEnum):
    """`loading`: an engine loads a model. `busy`: a job runs."""

    idle = "idle"
    loading = "loading"
    busy = "busy"


class QueueStats(WireAnswer):
    """One queue. `control` holds the jobs that plan and report; each scanned model has its own queue.

    The names of these queues are digests of models. Without the scope `admin` they are one entry, `scan`.
    """

    name: str
    waiting: int
    running: int


class WorkerStats(WireAnswer):
    """One worker process. It shows only your own models and scans."""

    name: str
    kind: str = Field(description="`engine`, or `control` for a worker that plans and reports.")
    state: str = Field(description="`idle`, `loading` or `busy`.")
    device: str | None = None
    model: str | None = Field(default=None, description="The model that its engine has loaded or is loading.")
    scan_id: str | None = Field(default=None, description="The scan that it works on.")
    last_heartbeat: datetime | None = None


class HourStats(WireAnswer):
    """Numbers of scans that ended in one hour, of all owners."""

    began_at: datetime
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class Stats(WireAnswer):
    """The body of `GET /v1/stats`."""

    queues: list[QueueStats]
    workers: list[WorkerStats]
    tokens_per_second: float = Field(
        description="Forward tokens per second of all workers, mean of the last five minutes."
    )
    scans: dict[str, int] = Field(
        description="Number of your stored scans by status; with an `admin` key, of all owners."
    )
    ended: list[HourStats] = Field(description="The last 24 hours, newest first.")
