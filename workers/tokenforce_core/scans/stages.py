"""Moves scans from one stage to the next, and says which jobs a scan needs now.

The process that commits the last part of a stage starts the next one. The reaper calls the same functions again, so a
process that dies in between delays a scan and never loses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tokenforce.wire.scans import Depth, ScanStatus
from tokenforce_core.plan.plan import Plan
from tokenforce_core.queues.jobs import CONTROL_QUEUE, JobName, enqueue
from tokenforce_core.scans.store import Store

PLAN_TIMEOUT = 6 * 3600
"""Seconds, with the download of a large model."""
JOB_TIMEOUT = 86400
"""Seconds, for RQ only; the worker checks its own deadline between engine steps."""


@dataclass(frozen=True)
class NeededJob:
    """One job that a scan needs in its current status."""

    queue: str
    name: JobName
    shard: int | None = None

    def enqueue(self, store: Store, scan_id: str, *, first: bool = False) -> bool:
        """Queue it, at the front if `first`. A report always goes first: it takes seconds, planning can take hours."""
        first = first or self.name is JobName.aggregate
        timeout = PLAN_TIMEOUT if self.queue == CONTROL_QUEUE else JOB_TIMEOUT
        return enqueue(store.connection, self.queue, self.name, scan_id, self.shard, timeout=timeout, first=first)


def start_planning(store: Store, scan_id: str, *, first: bool = False) -> None:
    """Queue the planning of a new scan; `first`: at the front of the queue."""
    NeededJob(CONTROL_QUEUE, JobName.plan).enqueue(store, scan_id, first=first)


def start_first_stage(store: Store, scan_id: str, plan: Plan) -> None:
    """Store the plan and start the search from the weights, or what comes after it. A target equal to its reference
    needs no engine."""
    store.set_plan(scan_id, plan)
    if plan.reference is not None and plan.reference.record.identical:
        store.work.commit_confirmed(scan_id, [], 0)
        if store.advance(scan_id, ScanStatus.aggregating, ScanStatus.planning):
            NeededJob(CONTROL_QUEUE, JobName.aggregate).enqueue(store, scan_id)
    elif plan.reads_weights:
        if store.advance(scan_id, ScanStatus.searching, ScanStatus.planning):
            NeededJob(plan.queue, JobName.search).enqueue(store, scan_id)
    else:
        _start_vocabulary(store, scan_id, plan, ScanStatus.planning)


def after_search(store: Store, scan_id: str, plan: Plan) -> None:
    """Once the search from the weights is committed, go on with the vocabulary; of a quick scan, with phase 2."""
    if not store.work.is_searched(scan_id):
        return
    if plan.depth is Depth.quick:
        _start_confirmation(store, scan_id, plan, ScanStatus.searching)
    else:
        _start_vocabulary(store, scan_id, plan, ScanStatus.searching)


def _start_vocabulary(store: Store, scan_id: str, plan: Plan, after: ScanStatus) -> None:
    """Start the sweep, or the contrast if the depth leaves the sweep out."""
    if not plan.sweeps:
        _start_contrast(store, scan_id, plan, after)
    elif store.advance(scan_id, ScanStatus.sweeping, after):
        for shard in plan.shards:
            NeededJob(plan.queue, JobName.sweep, shard.index).enqueue(store, scan_id)


def _start_contrast(store: Store, scan_id: str, plan: Plan, after: ScanStatus) -> None:
    if store.advance(scan_id, ScanStatus.contrasting, after):
        for shard in plan.shards:
            NeededJob(plan.queue, JobName.contrast, shard.index).enqueue(store, scan_id)


def after_sweep(store: Store, scan_id: str, plan: Plan) -> None:
    """Start the contrast once every shard is committed; without a reference, phase 2."""
    if len(store.work.committed_shards(scan_id)) < len(plan.shards):
        return
    if plan.reference is None:
        _start_confirmation(store, scan_id, plan, ScanStatus.sweeping)
    else:
        _start_contrast(store, scan_id, plan, ScanStatus.sweeping)


def after_contrast(store: Store, scan_id: str, plan: Plan) -> None:
    """Start phase 2 once every shard is contrasted."""
    if len(store.work.contrasted_shards(scan_id)) == len(plan.shards):
        _start_confirmation(store, scan_id, plan, ScanStatus.contrasting)


def _start_confirmation(store: Store, scan_id: str, plan: Plan, after: ScanStatus) -> None:
    store.advance(scan_id, ScanStatus.confirming, after)
    if store.status(scan_id) is ScanStatus.confirming:
        NeededJob(plan.queue, JobName.confirm).enqueue(store, scan_id)


def start_aggregation(store: Store, scan_id: str) -> None:
    """Start the report once the survivors are confirmed."""
    if store.work.is_confirmed(scan_id):
        store.advance(scan_id, ScanStatus.aggregating, ScanStatus.confirming)
        if store.status(scan_id) is ScanStatus.aggregating:
            NeededJob(CONTROL_QUEUE, JobName.aggregate).enqueue(store, scan_id)


def start_what_is_due(store: Store, scan_id: str) -> None:
    """Start the next stage if it is due: the process that should have started it may have died."""
    plan = store.plan(scan_id)
    if plan is not None:
        after_search(store, scan_id, plan)
        after_sweep(store, scan_id, plan)
        after_contrast(store, scan_id, plan)
    start_aggregation(store, scan_id)


def needed_work(store: Store, scan_id: str) -> Iterator[NeededJob]:
    """The jobs that this scan waits for."""
    status = store.status(scan_id)
    plan = store.plan(scan_id)
    if status in (ScanStatus.queued, ScanStatus.planning):
        yield NeededJob(CONTROL_QUEUE, JobName.plan)
    elif status is ScanStatus.searching and plan is not None:
        if not store.work.is_searched(scan_id):
            yield NeededJob(plan.queue, JobName.search)
    elif status is ScanStatus.sweeping and plan is not None:
        committed = store.work.committed_shards(scan_id)
        for shard in plan.shards:
            if shard.index not in committed:
                yield NeededJob(plan.queue, JobName.sweep, shard.index)
    elif status is ScanStatus.contrasting and plan is not None:
        contrasted = store.work.contrasted_shards(scan_id)
        for shard in plan.shards:
            if shard.index not in contrasted:
                yield NeededJob(plan.queue, JobName.contrast, shard.index)
    elif status is ScanStatus.confirming and plan is not None:
        yield NeededJob(plan.queue, JobName.confirm)
    elif status is ScanStatus.aggregating:
        yield NeededJob(CONTROL_QUEUE, JobName.aggregate)
