"""What the service is doing: the wire types of `GET /v1/stats`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from tokenforce.wire.base import WireAnswer


class WorkerState(StrEnum):
    """`loading`: an engine is loading a model. `busy`: a job runs."""

    idle = "idle"
    loading = "loading"
    busy = "busy"


class QueueStats(WireAnswer):
    """`control` has the jobs that plan and report; each model that is scanned has a queue of its own.

    Their names come from digests of the models, so that without `admin` they are one entry, `scan`.
    """

    name: str
    waiting: int
    running: int


class WorkerStats(WireAnswer):
    """One worker process. Models and scans of other owners are left out."""

    name: str
    kind: str = Field(description="`engine`, or `control` for one that plans and reports.")
    state: str = Field(description="`idle`, `loading` or `busy`.")
    device: str | None = None
    model: str | None = Field(default=None, description="What its engine has loaded, or is loading.")
    scan_id: str | None = Field(default=None, description="What it works on.")
    last_heartbeat: datetime | None = None


class HourStats(WireAnswer):
    """How many scans ended in one hour, whoever owns them."""

    began_at: datetime
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class Stats(WireAnswer):
    """The body of `GET /v1/stats`."""

    queues: list[QueueStats]
    workers: list[WorkerStats]
    tokens_per_second: float = Field(description="Forward tokens of all workers, over the last five minutes.")
    scans: dict[str, int] = Field(description="Your stored scans by status; everybody's for an `admin` key.")
    ended: list[HourStats] = Field(description="The last 24 hours, the present one first.")
