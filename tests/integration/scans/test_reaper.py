"""Work that died with a process comes back; work that keeps failing ends the scan with a reason."""

from __future__ import annotations

import threading
import time

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import SimpleWorker
from rq.executions import prepare_execution
from rq.job import Job, JobStatus

from tests.support.scan_results import NO_FILES
from tokenforce.wire.report import ContextRecord, TargetRecord
from tokenforce.wire.scans import Depth, ScanRequest, ScanStatus
from tokenforce_core.plan.plan import Plan
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.queues.jobs import CONTROL_QUEUE, SERIALIZER, JobName, ListedJob, job_id, queue
from tokenforce_core.scans.stages import NeededJob, start_aggregation, start_first_stage, start_planning
from tokenforce_core.scans.store import ACTIVE, Store
from tokenforce_core.scans.unannounced_ends import unannounced_ends
from tokenforce_service.scans.reaper import LOCK, Reaper

REQUEST = ScanRequest(model="/models/m")
PLAN = Plan(
    target=TargetRecord(model="/models/m", digest="sha256:0123456789abcdef", architecture="L", vocabulary_size=100),
    path="/models/m",
    loaded_digest="sha256:00",
    tokenizer_path="/models/m",
    hashed=(NO_FILES,),
    settings=settings_for(REQUEST),
    contexts=[ContextRecord(name="bos", ids=[1], text="", aligned=False)],
    forced_contexts=[0],
    depth=Depth.thorough,
    skipped=[],
    end_ids=[0],
    shard_size=40,
    max_length=100,
    queue="scan.0123456789abcdef-float32",
)


@pytest.fixture
def sweeping(store: Store) -> str:
    """A scan with three shards in their queue."""
    store.create("scan_1", REQUEST, "local")
    store.advance("scan_1", ScanStatus.planning, ScanStatus.queued)
    start_first_stage(store, "scan_1", PLAN)
    return "scan_1"


def status_of(redis: Redis, name: JobName, shard: int | None = None) -> JobStatus:
    return Job.fetch(job_id("scan_1", name, shard), connection=redis, serializer=SERIALIZER).get_status()


def abandon(redis: Redis, queue_name: str) -> Job:
    """Take a job as a worker does that dies at once; its lease has lapsed."""
    lost = queue(queue_name, redis)
    worker = SimpleWorker([lost], connection=redis, job_class=ListedJob, serializer=SERIALIZER)
    worker.register_birth()  # type: ignore[no-untyped-call]
    found = lost.dequeue_any([lost], None, connection=redis, job_class=ListedJob, serializer=SERIALIZER)
    assert found is not None
    job = found[0]
    execution = prepare_execution(worker, job)
    worker.prepare_job_execution(job, True)
    redis.zadd(f"rq:wip:{queue_name}", {execution.composite_key: time.time() - 1})
    return job


def test_a_scan_whose_first_job_was_never_enqueued_gets_it(store: Store, redis: Redis) -> None:
    store.create("scan_1", REQUEST, "local")
    Reaper(store).reap()
    assert redis.llen(f"rq:queue:{CONTROL_QUEUE}") == 1


def test_an_abandoned_shard_goes_back_to_its_queue(store: Store, redis: Redis, sweeping: str) -> None:
    job = abandon(redis, PLAN.queue)
    assert redis.llen(f"rq:queue:{PLAN.queue}") == 2
    Reaper(store).reap()
    assert redis.llen(f"rq:queue:{PLAN.queue}") == 3
    assert job.get_status(refresh=True) is JobStatus.QUEUED
    assert store.status(sweeping) is ScanStatus.sweeping


def test_a_shard_that_dies_every_time_ends_the_scan_with_a_reason(store: Store, redis: Redis, sweeping: str) -> None:
    reaper = Reaper(store)
    for _ in range(3 * 3):  # each of three shards, three times
        if redis.llen(f"rq:queue:{PLAN.queue}"):
            abandon(redis, PLAN.queue)
        reaper.reap()
    row = store.row(sweeping)
    assert row is not None
    assert row.status is ScanStatus.failed
    assert row.error is not None
    assert row.error.code == "engine_failed"
    assert "three times" in row.error.detail
    assert "\n" not in row.error.detail


def test_a_lost_shard_job_is_made_again(store: Store, redis: Redis, sweeping: str) -> None:
    redis.delete(f"rq:queue:{PLAN.queue}", Job.key_for(job_id(sweeping, JobName.sweep, 1)))
    Reaper(store).reap()
    assert status_of(redis, JobName.sweep, 1) is JobStatus.QUEUED


def test_the_next_stage_starts_though_nobody_started_it(store: Store, redis: Redis, sweeping: str) -> None:
    for shard in PLAN.shards:
        store.work.commit_shard(sweeping, shard.index, 0, [], len(shard), 1, PLAN.settings.keep)
    Reaper(store).reap()
    assert store.status(sweeping) is ScanStatus.confirming
    assert status_of(redis, JobName.confirm) is JobStatus.QUEUED
    store.work.commit_confirmed(sweeping, [], 0)
    Reaper(store).reap()
    assert store.status(sweeping) is ScanStatus.aggregating
    assert status_of(redis, JobName.aggregate) is JobStatus.QUEUED


def test_a_report_is_written_before_the_next_scan_is_planned(store: Store, redis: Redis, sweeping: str) -> None:
    for shard in PLAN.shards:
        store.work.commit_shard(sweeping, shard.index, 0, [], len(shard), 1, PLAN.settings.keep)
    Reaper(store).reap()
    store.work.commit_confirmed(sweeping, [], 0)
    for scan_id in ("scan_2", "scan_3"):
        store.create(scan_id, REQUEST, "local")
        start_planning(store, scan_id, first=scan_id == "scan_3")
    start_aggregation(store, sweeping)
    plans = [job_id(scan_id, JobName.plan) for scan_id in ("scan_3", "scan_2")]
    assert queue(CONTROL_QUEUE, redis).job_ids == [job_id(sweeping, JobName.aggregate), *plans]


def test_two_reapers_never_work_at_once(store: Store, redis: Redis) -> None:
    redis.set(LOCK, "another")
    assert not Reaper(store).reap()
    redis.delete(LOCK)
    assert Reaper(store).reap()
    assert not redis.exists(LOCK)


def test_a_queue_without_work_is_forgotten_and_found_again(store: Store, redis: Redis, sweeping: str) -> None:
    store.cancel(sweeping)
    queue(PLAN.queue, redis).empty()  # type: ignore[no-untyped-call]
    Reaper(store).reap()
    assert not redis.sismember("rq:queues", f"rq:queue:{PLAN.queue}")
    NeededJob(PLAN.queue, JobName.sweep, 7).enqueue(store, sweeping)
    assert redis.sismember("rq:queues", f"rq:queue:{PLAN.queue}")


def test_a_failed_plan_ends_the_scan(store: Store, redis: Redis) -> None:
    store.create("scan_1", REQUEST, "local")
    start_planning(store, "scan_1")
    for _ in range(2):
        abandon(redis, CONTROL_QUEUE)
        Reaper(store).reap()
        assert store.status("scan_1") is ScanStatus.queued  # an aggregator that is stopped or crashes costs no scan
    abandon(redis, CONTROL_QUEUE)
    Reaper(store).reap()
    assert "failed three times" in ended_with_internal_error(store, "scan_1")


def ended_with_internal_error(store: Store, scan_id: str) -> str:
    """The detail."""
    row = store.row(scan_id)
    assert row is not None
    assert row.status is ScanStatus.failed
    assert row.error is not None
    assert row.error.code == "internal_error"
    assert row.error.detail.endswith("; start it again.")
    return row.error.detail


def lose_a_job(redis: Redis, scan_id: str) -> None:
    redis.delete(f"rq:queue:{PLAN.queue}", Job.key_for(job_id(scan_id, JobName.sweep, 1)))


@pytest.mark.parametrize("field", ["plan", "status"])
def test_a_scan_that_cannot_be_read_ends_and_the_others_go_on(
    store: Store, redis: Redis, sweeping: str, field: str
) -> None:
    store.create("scan_0", REQUEST, "local")  # looked after first
    store.advance("scan_0", ScanStatus.sweeping, ScanStatus.queued)
    redis.hset("tf:scan:scan_0", field, "{}")
    lose_a_job(redis, sweeping)
    Reaper(store).reap()
    assert status_of(redis, JobName.sweep, 1) is JobStatus.QUEUED
    assert store.active() == [sweeping]
    if field == "plan":
        assert "in its stored data" in ended_with_internal_error(store, "scan_0")


def test_a_queue_and_a_scan_that_fail_otherwise_hold_up_no_other(
    store: Store, redis: Redis, sweeping: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis.sadd("rq:queues", "rq:queue:aaa")
    redis.set("rq:wip:aaa", "no sorted set")
    store.create("scan_0", REQUEST, "local")
    redis.set("tf:scan:scan_0:shards", "no hash")
    store.advance("scan_0", ScanStatus.sweeping, ScanStatus.queued)
    redis.hset("tf:scan:scan_0", "plan", PLAN.model_dump_json())
    job = abandon(redis, PLAN.queue)
    lose_a_job(redis, sweeping)
    Reaper(store).reap()
    assert job.get_status(refresh=True) is JobStatus.QUEUED
    assert status_of(redis, JobName.sweep, 1) is JobStatus.QUEUED
    assert [r.getMessage().partition(":")[0] for r in caplog.records if r.exc_info] == [
        "cannot bring back the work of aaa",
        "cannot bring back the work of scan_0",
    ]


def test_the_reaper_outlives_whatever_happens(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, rounds = threading.Event(), []
    reaper = Reaper(store)

    def reap() -> bool:
        rounds.append(True)
        if len(rounds) == 3:
            stop.set()
        raise [KeyError("unforeseen"), RedisConnectionError("gone"), ValueError("odd")][len(rounds) - 1]

    monkeypatch.setattr(reaper, "reap", reap)
    reaper.run(stop, 0.01)
    assert len(rounds) == 3


def test_an_outage_ends_the_round_at_once(store: Store, sweeping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(_: str) -> None:
        raise RedisConnectionError("gone")

    reaper = Reaper(store)
    monkeypatch.setattr(reaper, "_clean", unreachable)
    with pytest.raises(RedisConnectionError):
        reaper.reap()


def test_scans_that_ended_half_way_are_settled(store: Store, redis: Redis) -> None:
    """Their process died between the final status and what follows; or they expired."""
    for scan_id in ("scan_1", "scan_2"):
        store.create(scan_id, REQUEST, "local")
    redis.hset("tf:scan:scan_1", "status", ScanStatus.succeeded.value)
    redis.delete("tf:scan:scan_2")
    Reaper(store).reap()
    assert store.active() == []
    assert redis.ttl("tf:scan:scan_1") > 0
    assert not redis.exists(f"rq:queue:{CONTROL_QUEUE}")


def test_a_scan_that_is_stored_while_the_reaper_looks_stays_active(
    store: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted as active before it is stored."""
    redis.sadd(ACTIVE, "scan_1", "scan_2")
    known = store.status

    def then_stored(scan_id: str) -> ScanStatus | None:
        status = known(scan_id)
        if scan_id == "scan_1":
            store.create("scan_1", REQUEST, "local")
        return status

    monkeypatch.setattr(store, "status", then_stored)
    Reaper(store).reap()
    assert store.active() == ["scan_1"]
    assert redis.ttl("tf:scan:scan_1") == -1
    assert unannounced_ends(redis, 10) == []
