"""The GPU job that sweeps one shard. Idempotent.

It knows the scan and the shard only; everything else is in the stored plan.
"""

from __future__ import annotations

import logging
import time

from tokenforce.wire.scans import ScanStatus
from tokenforce_core.forcing.sweep import Sweep
from tokenforce_core.forcing.trace import with_texts
from tokenforce_core.scans.stages import after_sweep
from tokenforce_workers.jobs.control import through_outages
from tokenforce_workers.jobs.scan_job import ScanJob, scan_job

log = logging.getLogger(__name__)


@scan_job(ScanStatus.sweeping)
def sweep(job: ScanJob, shard_index: int) -> None:
    """Sweep one shard and commit it; the last shard to be committed starts the next stage."""
    if shard_index not in job.work.committed_shards(job.scan_id):
        _sweep(job, shard_index)
    after_sweep(job.store, job.scan_id, job.plan)


def _sweep(job: ScanJob, shard_index: int) -> None:
    plan, work, scan_id = job.plan, job.work, job.scan_id
    engine = job.target()
    shard = plan.shards[shard_index]
    run = Sweep(
        plan.settings,
        shard.context,
        plan.contexts[shard.context].ids,
        plan.forceable_ids[shard.start : shard.stop],
        frozenset(plan.end_ids),
        known_best=work.kth_best(scan_id, shard.context, plan.settings.keep),
    )
    cost = plan.prompt_cost(shard.context) - 1

    def tokens() -> int:
        return run.generated + cost * run.done

    started = time.monotonic()
    best = run.run(engine, job.control(str(shard_index), lambda: (run.done, tokens())))
    traces = [with_texts(trace, job.decode) for trace in best]
    keep = plan.settings.keep
    through_outages(lambda: work.commit_shard(scan_id, shard_index, shard.context, traces, len(shard), tokens(), keep))
    seconds = time.monotonic() - started
    log.info("shard %s-%d: %d entries, %d tokens, %.1f s", scan_id, shard_index, len(shard), tokens(), seconds)
