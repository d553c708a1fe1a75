"""The GPU job that contrasts one shard with the reference. Idempotent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from tokenforce.wire.scans import ScanStatus
from tokenforce_core.contrast.reference_cache import Blocks, ReferenceTops
from tokenforce_core.contrast.shard import ContrastSweep, ShardContrast
from tokenforce_core.forcing.predictor import NotNumbers
from tokenforce_core.scans.stages import after_contrast
from tokenforce_core.scans.store import CONTRAST_PART
from tokenforce_core.scans.work_store import ContrastStore, ReferenceBlocks
from tokenforce_workers.engine.for_scan import (
    as_reference,
    decoder_of_ids,
    no_numbers,
    reference_engine,
    target_engine,
)
from tokenforce_workers.engine.warm_engine import warm
from tokenforce_workers.jobs.control import Cancelled, Control, through_outages

log = logging.getLogger(__name__)


def contrast(scan_id: str, shard_index: int) -> dict[str, int]:
    """Contrast one shard and commit it; the last shard to be committed starts the confirmation."""
    state = warm()
    store = state.store
    plan = store.plan(scan_id)
    if plan is None or plan.reference is None or store.status(scan_id) is not ScanStatus.contrasting:
        return {}
    results = ContrastStore(store.connection)
    if shard_index not in results.committed_shards(scan_id):
        target = target_engine(state, plan, scan_id)
        base = reference_engine(state, plan, scan_id) if target is not None else None
        if target is None or base is None:
            return {}
        shard = plan.shards[shard_index]
        forced = plan.forceable_ids[shard.start : shard.stop]
        run = ContrastSweep(
            plan.settings.search, shard.context, plan.contexts[shard.context].ids, forced, frozenset(plan.end_ids)
        )
        record = plan.reference.record
        id_of = plan.reference.id_of
        control = Control(state, scan_id, f"{CONTRAST_PART}{shard_index}", lambda: (run.done, tokens()))
        tops = ReferenceTops(
            base,
            [[own for i in context.ids if (own := id_of(i)) >= 0] for context in plan.contexts],
            [id_of(i) for i in range(plan.target.vocabulary_size)],
            record.vocabulary_size,
            plan.settings.search.entries,
            _Patient(ReferenceBlocks(store.connection, record.digest, base.dtype, state.settings.retention_seconds)),
            control,
        )

        def tokens() -> int:
            return (run.generated + tops.generated) * plan.prompt_cost(shard.context)

        started = time.monotonic()
        try:
            result = run.run(target, as_reference(base, plan), tops, control)
        except Cancelled:
            return {}
        except NotNumbers:
            no_numbers(store, plan, scan_id, target.dtype)
            return {}
        result = _with_texts(result, decoder_of_ids(plan))
        through_outages(lambda: results.commit(scan_id, shard_index, result, len(shard), tokens()))
        seconds = time.monotonic() - started
        log.info("contrast %s-%d: %d entries, %.1f s", scan_id, shard_index, len(shard), seconds)
    after_contrast(store, scan_id, plan)
    return {"shard": shard_index}


class _Patient:
    """Implements `Blocks` over others: an outage must not cost what the engine has computed by then."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    def get(self, name: str) -> bytes | None:
        return through_outages(lambda: self._blocks.get(name))

    def put(self, name: str, block: bytes) -> None:
        through_outages(lambda: self._blocks.put(name, block))


def _with_texts(result: ShardContrast, decode: Callable[..., str]) -> ShardContrast:
    """The suppressed tokens as people read them; -1 is a token that only the reference has."""
    named = [
        replace(
            row,
            forced_text=decode([row.forced_id]),
            token_text=decode([row.token_id]) if row.token_id >= 0 else "",
        )
        for row in result.suppressed
    ]
    return replace(result, suppressed=named)
