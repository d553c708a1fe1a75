"""`GET /v1/stats` and `/metrics`: what workers really registered, and what the store's scripts counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from redis import Redis
from rq import Worker
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.scan_results import example_plan, swept
from tokenforce import Client
from tokenforce.wire.keys import Scope
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce.wire.stats import Stats, WorkerState
from tokenforce_core.queues import counters
from tokenforce_core.queues.jobs import CONTROL_QUEUE, SERIALIZER, JobName, ListedJob, enqueue, queue, scan_of_job
from tokenforce_core.scans.stages import start_first_stage, start_planning
from tokenforce_core.scans.store import Store
from tokenforce_service.app import create_app
from tokenforce_service.monitoring.stats import EXAMPLE_STATS
from tokenforce_service.settings import ServiceSettings
from tokenforce_workers.engine.engine_cache import EngineCache
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.settings import WorkerSettings


@pytest.fixture
def http(redis: Redis) -> Iterator[TestClient]:
    with TestClient(create_app(ServiceSettings(), redis), headers=bearer(redis)) as client:
        yield client


@pytest.fixture
def sdk(http: TestClient) -> Iterator[Client]:
    with Client(http_client=cast(Any, http)) as client:
        yield client


def sweeping(store: Store, scan_id: str, owner: str = "local", model: str = "org/a") -> None:
    store.create(scan_id, ScanRequest(model=model), owner)
    store.advance(scan_id, ScanStatus.planning, ScanStatus.queued)
    start_first_stage(store, scan_id, example_plan())


def sample(http: TestClient, name: str) -> float:
    lines = http.get("/metrics").text.splitlines()
    found = [line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name]
    assert len(found) == 1, [line for line in lines if line.startswith(name.partition("{")[0])]
    return float(found[0])


def test_an_empty_service(sdk: Client) -> None:
    stats = sdk.stats.get()
    assert (stats.queues, stats.workers, stats.tokens_per_second) == ([], [], 0.0)
    assert stats.scans == dict.fromkeys((status.value for status in ScanStatus), 0)
    assert len(stats.ended) == 24
    assert stats.ended[0].began_at <= datetime.now(UTC) < stats.ended[0].began_at + timedelta(hours=1)


def test_the_example_is_one() -> None:
    assert Stats.model_validate({**EXAMPLE_STATS, "new": 1}).workers[0].scan_id == "scan_5f0c2a1be9d04c77"


def test_queues_and_counts(sdk: Client, http: TestClient, store: Store, redis: Redis) -> None:
    sweeping(store, "scan_1")
    store.create("scan_2", ScanRequest(model="org/a"), "local")
    start_planning(store, "scan_2")
    store.create("scan_3", ScanRequest(model="org/a"), "somebody else")
    store.cancel("scan_3")
    stats = sdk.stats.get()
    plan = example_plan()
    assert {each.name: (each.waiting, each.running) for each in stats.queues} == {
        CONTROL_QUEUE: (1, 0),
        plan.queue: (len(plan.shards), 0),
    }
    assert {status: number for status, number in stats.scans.items() if number} == {
        "sweeping": 1,
        "queued": 1,
        "cancelled": 1,
    }
    assert stats.ended[0].cancelled + stats.ended[1].cancelled == 1
    own = http.get("/v1/stats", headers=bearer(redis, Scope.scans_read)).json()
    assert own["queues"] == [
        {"name": "control", "waiting": 1, "running": 0},
        {"name": "scan", "waiting": len(plan.shards), "running": 0},
    ]
    assert own["scans"]["cancelled"] == 0  # the example's key is an admin's; this one sees its owner's
    assert sample(http, 'tokenforce_active_scans{status="sweeping"}') == 1
    assert sample(http, 'tokenforce_scans_ended_total{status="cancelled"}') == 1


def test_without_admin_no_queue_names_a_model(http: TestClient, redis: Redis) -> None:
    for number, name in enumerate(("scan.0123-float32", "scan.4567-bfloat16.high"), 1):
        for shard in range(number):
            enqueue(redis, name, JobName.sweep, f"scan_{number}", shard, timeout=5)
    assert [each["waiting"] for each in http.get("/v1/stats").json()["queues"]] == [1, 2]
    for owner in ("local", "bob"):
        answer = http.get("/v1/stats", headers=bearer(redis, Scope.scans_read, owner=owner)).json()
        assert answer["queues"] == [{"name": "scan", "waiting": 3, "running": 0}]


def test_real_workers(sdk: Client, http: TestClient, store: Store, redis: Redis, machine: Machine) -> None:
    """One of each kind, registered as in production; what they do belongs to its owner."""
    from tokenforce_workers.rq_worker import GpuWorker

    aggregator: Any = Worker(
        [queue(CONTROL_QUEUE, redis)], connection=redis, job_class=ListedJob, serializer=SERIALIZER, name="control-1"
    )
    aggregator.register_birth()
    state = EngineCache(Store(redis), WorkerSettings(), machine)
    worker: Any = GpuWorker(state, redis, "gpu-1")
    worker.register_birth()
    worker.heartbeat()
    shown = {each.name: each for each in sdk.stats.get().workers}
    assert (shown["control-1"].kind, shown["control-1"].state) == ("control", WorkerState.idle)
    assert (shown["gpu-1"].kind, shown["gpu-1"].device, shown["gpu-1"].model) == ("engine", "cpu", None)
    assert shown["gpu-1"].last_heartbeat is not None
    assert abs((shown["gpu-1"].last_heartbeat - datetime.now(UTC)).total_seconds()) < 60

    sweeping(store, "scan_1", owner="ann", model="org/secret")
    found = worker._dequeue()
    assert found is not None
    worker.prepare_execution(found[0])
    worker.prepare_job_execution(found[0], True)
    worker._note_model(found[0])
    state._loading.set()
    worker.heartbeat()
    (busy,) = [each for each in sdk.stats.get().workers if each.name == "gpu-1"]
    assert (busy.state, busy.model, busy.scan_id) == (WorkerState.loading, "org/secret", "scan_1")
    assert sample(http, 'tokenforce_engines{state="loading"}') == 1
    assert sample(http, "tokenforce_workers") == 2
    for owner, sees in (("ann", ("org/secret", "scan_1")), ("bob", (None, None))):
        answer = http.get("/v1/stats", headers=bearer(redis, Scope.scans_read, owner=owner)).json()
        (busy_worker,) = [each for each in answer["workers"] if each["name"] == "gpu-1"]
        assert (busy_worker["model"], busy_worker["scan_id"]) == sees
    worker.register_death()
    assert [each.name for each in sdk.stats.get().workers] == ["control-1"]


def test_tokens_are_counted_as_they_come_and_once(http: TestClient, store: Store, redis: Redis) -> None:
    sweeping(store, "scan_1")
    store.work.note_progress("scan_1", "0", 5, 20)
    assert counters.totals(redis)[counters.TOKENS, None] == 20
    store.work.note_progress("scan_1", "0", 9, 35)
    store.work.commit_shard("scan_1", 0, 0, [swept(3, 0.95)], entries=16, tokens=40, keep=9)
    store.work.commit_shard("scan_1", 0, 0, [swept(3, 0.95)], entries=16, tokens=40, keep=9)  # twice: counts once
    assert sample(http, "tokenforce_forward_tokens_total") == 40
    store.work.note_progress("scan_1", "1", 9, 50)
    store.work.note_progress("scan_1", "1", 1, 5)  # its worker died, and another one began it again
    assert sample(http, "tokenforce_forward_tokens_total") == 95
    assert sample(http, 'tokenforce_shards_done_total{kind="sweep"}') == 1
    assert 95 / 301 < sample(http, "tokenforce_tokens_per_second") <= 95 / 240


def test_tokens_of_old_minutes_do_not_count(redis: Redis) -> None:
    now = time.time()
    minute = int(now // 60)
    redis.mset({f"tf:tokens:{minute}": 60, f"tf:tokens:{minute - 4}": 240, f"tf:tokens:{minute - 5}": 10**9})
    assert counters.tokens_per_second(redis, now) == pytest.approx(300 / (240 + now % 60), rel=1e-3)


def test_retries_are_counted(http: TestClient, store: Store, redis: Redis) -> None:
    sweeping(store, "scan_1")
    name = example_plan().queue
    job = queue(name, redis).jobs[0]
    with redis.pipeline() as pipe:
        job.retry(queue(name, redis), pipe)
        pipe.execute()
    assert sample(http, "tokenforce_job_retries_total") == 1


def test_a_counter_that_no_metric_shows_does_not_break_the_scrape(http: TestClient, redis: Redis) -> None:
    counters.count(redis, "something", "else")
    assert http.get("/metrics").status_code == 200


@pytest.mark.parametrize("name", JobName)
def test_the_scan_of_a_job(redis: Redis, name: JobName) -> None:
    enqueue(redis, "q", name, "scan_1-plan", None, timeout=5)
    enqueue(redis, "q", name, "scan_2", 17, timeout=5)
    assert [scan_of_job(job.id) for job in queue("q", redis).jobs] == ["scan_1-plan", "scan_2"]
    assert scan_of_job("whatever") is None
