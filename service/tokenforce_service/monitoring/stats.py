"""The route /v1/stats: what the service is doing now, for a dashboard that polls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter

from tokenforce.wire.stats import HourStats, QueueStats, Stats, WorkerState, WorkerStats
from tokenforce_core.queues import counters
from tokenforce_core.queues.jobs import MODEL_QUEUE_PREFIX
from tokenforce_core.queues.workers import QueueDepth, Worker, queue_depths, workers
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import Caller, MayRead
from tokenforce_service.http.dependencies import TheStore
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.moments import moment

ALL_MODELS = "scan"
"""Stands for the queues of all models in answers to keys without `admin`."""
router = APIRouter(prefix="/v1/stats", tags=["stats"])

EXAMPLE_STATS: dict[str, Any] = {
    "queues": [
        {"name": "control", "waiting": 0, "running": 1},
        {"name": "scan.0b1f6c2a9d3e4f57-bfloat16", "waiting": 11, "running": 1},
    ],
    "workers": [
        {
            "name": "gpu-3-4711-9f2c1e",
            "kind": "engine",
            "state": "busy",
            "device": "cuda",
            "model": "/models/upload-17",
            "scan_id": "scan_5f0c2a1be9d04c77",
            "last_heartbeat": "2026-11-22T21:41:07Z",
        }
    ],
    "tokens_per_second": 1104.2,
    "scans": {"queued": 2, "sweeping": 1, "succeeded": 812, "failed": 3},
    "ended": [{"began_at": "2026-11-22T21:00:00Z", "succeeded": 17, "failed": 0, "cancelled": 1}],
}


@router.get(
    "",
    response_model=Stats,
    responses={200: answer_of(EXAMPLE_STATS), **problems(503)},
    summary="Get queues, workers, throughput and counts of scans",
)
def get(caller: MayRead, store: TheStore) -> Stats:
    """The cost does not depend on the number of scans, so you can poll it every few seconds."""
    redis = store.connection
    return Stats(
        queues=_queues_view(queue_depths(redis), caller),
        workers=[_worker_view(worker, caller, store) for worker in workers(redis)],
        tokens_per_second=round(counters.tokens_per_second(redis), 1),
        scans={status.value: number for status, number in store.index.count(caller.sees_only).items()},
        ended=[
            HourStats(began_at=moment(hour), **{s.value: n for s, n in ended.items()})
            for hour, ended in counters.ended_by_hour(redis).items()
        ],
    )


def _queues_view(depths: Iterable[QueueDepth], caller: Caller) -> list[QueueStats]:
    """The name of a model's queue is a digest of the model, and only admins may know the models of other owners."""
    found = [QueueStats(**vars(depth)) for depth in depths]
    if caller.sees_only is None:
        return found
    models = [each for each in found if each.name.startswith(MODEL_QUEUE_PREFIX)]
    shown = [each for each in found if each not in models]
    if models:
        waiting, running = sum(each.waiting for each in models), sum(each.running for each in models)
        shown.append(QueueStats(name=ALL_MODELS, waiting=waiting, running=running))
    return shown


def _worker_view(worker: Worker, caller: Caller, store: Store) -> WorkerStats:
    scan_id = worker.scan_id
    if scan_id is not None and caller.sees_only is not None and store.owner(scan_id) != caller.owner:
        scan_id = None
    return WorkerStats(
        name=worker.name,
        kind="control" if worker.control else "engine",
        state=state_of(worker),
        device=worker.device,
        model=worker.model if worker.owner is not None and caller.sees(worker.owner) else None,
        scan_id=scan_id,
        last_heartbeat=worker.last_heartbeat,
    )


def state_of(worker: Worker) -> WorkerState:
    if worker.loading:
        return WorkerState.loading
    return WorkerState.busy if worker.busy else WorkerState.idle
