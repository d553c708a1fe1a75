"""The stages of a scan at each depth, and what is done for a job of the search that was lost, in a real store."""

from __future__ import annotations

import pytest
from redis import Redis
from rq.job import Job, JobStatus

from tests.support.scan_results import NO_FILES, example_plan
from tokenforce.wire.report import ContextRecord, ReferenceRecord
from tokenforce.wire.scans import Depth, ScanRequest, ScanStatus
from tokenforce_core.contrast.shard import ShardContrast
from tokenforce_core.plan.plan import Plan, ReferencePlan
from tokenforce_core.queues.jobs import SERIALIZER, JobName, job_id
from tokenforce_core.scans.searched import Searched
from tokenforce_core.scans.stages import after_contrast, after_search, start_first_stage
from tokenforce_core.scans.store import Store
from tokenforce_service.scans.reaper import Reaper

SCAN = "scan_1"
NOTHING = ShardContrast(0, [], [], [], [], [])


def plan(depth: Depth) -> Plan:
    reference = ReferenceRecord(model="/models/base", digest="sha256:01", source="request", vocabulary_size=64)
    drawn = ContextRecord(name="drawn-code-1", ids=[5], text="", aligned=False)
    return example_plan().model_copy(
        update={
            "reference": ReferencePlan(record=reference, path="/models/base", hashed=NO_FILES),
            "drawn": [drawn],
            "depth": depth,
            "forced_contexts": {Depth.quick: [], Depth.standard: [0, 1], Depth.thorough: [0]}[depth],
        }
    )


def searching(store: Store, depth: Depth) -> Plan:
    planned = plan(depth)
    store.create(SCAN, ScanRequest(model="/models/example", depth=depth), "local")
    store.advance(SCAN, ScanStatus.planning, ScanStatus.queued)
    start_first_stage(store, SCAN, planned)
    assert store.status(SCAN) is ScanStatus.searching
    return planned


def queued(redis: Redis, name: JobName, shard: int | None = None) -> bool:
    return Job.exists(job_id(SCAN, name, shard), connection=redis)


@pytest.mark.parametrize(
    ("depth", "status", "name", "shards"),
    [
        (Depth.quick, ScanStatus.confirming, JobName.confirm, [None]),
        (Depth.standard, ScanStatus.contrasting, JobName.contrast, list(range(8))),
        (Depth.thorough, ScanStatus.sweeping, JobName.sweep, list(range(4))),
    ],
)
def test_what_follows_the_search(
    store: Store, redis: Redis, depth: Depth, status: ScanStatus, name: JobName, shards: list[int | None]
) -> None:
    planned = searching(store, depth)
    after_search(store, SCAN, planned)
    assert store.status(SCAN) is ScanStatus.searching  # not before it is committed
    store.work.commit_searched(SCAN, Searched(), 7)
    after_search(store, SCAN, planned)
    assert store.status(SCAN) is status
    assert all(queued(redis, name, shard) for shard in shards)
    others = {JobName.sweep, JobName.contrast, JobName.confirm} - {name}
    assert not any(queued(redis, other, shard) for other in others for shard in (None, 0))


def test_at_the_depth_standard_the_confirmation_waits_for_both_contexts(store: Store, redis: Redis) -> None:
    planned = searching(store, Depth.standard)
    store.work.commit_searched(SCAN, Searched(), 7)
    after_search(store, SCAN, planned)
    assert [shard.context for shard in planned.shards] == [0] * 4 + [1] * 4
    for shard in planned.shards[:-1]:
        store.work.commit_contrast(SCAN, shard.index, NOTHING, len(shard), 1)
        after_contrast(store, SCAN, planned)
    assert store.status(SCAN) is ScanStatus.contrasting
    store.work.commit_contrast(SCAN, planned.shards[-1].index, NOTHING, len(planned.shards[-1]), 1)
    after_contrast(store, SCAN, planned)
    assert store.status(SCAN) is ScanStatus.confirming
    row = store.row(SCAN)
    assert row is not None
    assert row.contrast_done == planned.entries == 2 * planned.target.vocabulary_size


def test_a_search_that_was_lost_is_queued_again(store: Store, redis: Redis) -> None:
    planned = searching(store, Depth.standard)
    redis.delete(f"rq:queue:{planned.queue}", Job.key_for(job_id(SCAN, JobName.search)))
    Reaper(store).reap()
    job = Job.fetch(job_id(SCAN, JobName.search), connection=redis, serializer=SERIALIZER)
    assert job.get_status() is JobStatus.QUEUED


def test_a_search_whose_worker_died_after_the_commit_is_followed_by_the_next_stage(store: Store, redis: Redis) -> None:
    searching(store, Depth.standard)
    store.work.commit_searched(SCAN, Searched(), 7)
    Reaper(store).reap()
    assert store.status(SCAN) is ScanStatus.contrasting
    assert queued(redis, JobName.contrast, 0)


def test_a_scan_that_is_cancelled_while_it_searches_starts_nothing_more(store: Store, redis: Redis) -> None:
    planned = searching(store, Depth.standard)
    store.cancel(SCAN)
    store.work.commit_searched(SCAN, Searched(), 7)
    after_search(store, SCAN, planned)
    Reaper(store).reap()
    assert store.status(SCAN) is ScanStatus.cancelled
    assert not queued(redis, JobName.contrast, 0)
