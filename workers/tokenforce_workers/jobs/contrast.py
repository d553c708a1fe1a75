"""The GPU job that contrasts one shard with the reference. Idempotent."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from tokenforce.wire.scans import ScanStatus
from tokenforce_core.contrast.reference_cache import Blocks, ReferenceTops
from tokenforce_core.contrast.reference_predictor import as_reference
from tokenforce_core.contrast.shard import ContrastSweep, ShardContrast
from tokenforce_core.forcing.trace import Decode
from tokenforce_core.scans.stages import after_contrast
from tokenforce_core.scans.work_store import CONTRAST_PART, ReferenceBlocks
from tokenforce_workers.engine.vllm_engine import Engine
from tokenforce_workers.jobs.control import Control, through_outages
from tokenforce_workers.jobs.scan_job import ScanJob, scan_job

log = logging.getLogger(__name__)


@scan_job(ScanStatus.contrasting)
def contrast(job: ScanJob, shard_index: int) -> None:
    """Contrast one shard and commit it; the last shard to be committed starts the confirmation."""
    if shard_index not in job.work.contrasted_shards(job.scan_id):
        _contrast(job, shard_index)
    after_contrast(job.store, job.scan_id, job.plan)


def _contrast(job: ScanJob, shard_index: int) -> None:
    plan = job.plan
    target, base = job.target(), job.reference()
    shard = plan.shards[shard_index]
    forced = plan.forceable_ids[shard.start : shard.stop]
    context_ids = plan.every_context[shard.context].ids
    run = ContrastSweep(plan.settings.search, shard.context, context_ids, forced, frozenset(plan.end_ids))
    control = job.control(f"{CONTRAST_PART}{shard_index}", lambda: (run.done, tokens()))
    tops = _reference_tops(job, base, control)

    def tokens() -> int:
        return (run.generated + tops.generated) * plan.prompt_cost(shard.context)

    started = time.monotonic()
    result = _with_texts(run.run(target, as_reference(base, plan), tops, control), job.decode)
    through_outages(lambda: job.work.commit_contrast(job.scan_id, shard_index, result, len(shard), tokens()))
    seconds = time.monotonic() - started
    log.info("contrast %s-%d: %d entries, %.1f s", job.scan_id, shard_index, len(shard), seconds)


def _reference_tops(job: ScanJob, base: Engine, control: Control) -> ReferenceTops:
    plan = job.plan
    assert plan.reference is not None
    record, id_of = plan.reference.record, plan.reference.id_of
    blocks = ReferenceBlocks(job.store.connection, record.digest, base.dtype, job.state.settings.retention_seconds)
    return ReferenceTops(
        base,
        [[own for i in context.ids if (own := id_of(i)) >= 0] for context in plan.every_context],
        [id_of(i) for i in range(plan.target.vocabulary_size)],
        record.vocabulary_size,
        plan.settings.search.entries,
        _Patient(blocks),
        control,
    )


class _Patient:
    """`Blocks` that wait for Redis to come back, so that an outage does not cost what the engine has computed."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    def get(self, name: str) -> bytes | None:
        return through_outages(lambda: self._blocks.get(name))

    def put(self, name: str, block: bytes) -> None:
        through_outages(lambda: self._blocks.put(name, block))


def _with_texts(result: ShardContrast, decode: Decode) -> ShardContrast:
    """With the suppressed tokens as people read them; -1 is a token that only the reference has."""
    named = [
        replace(
            row,
            forced_text=decode([row.forced_id]),
            token_text=decode([row.token_id]) if row.token_id >= 0 else "",
        )
        for row in result.suppressed
    ]
    return replace(result, suppressed=named)
