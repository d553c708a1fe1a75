"""The GPU job that sweeps one shard. Idempotent.

It knows the scan and the shard only; everything else is in the stored plan.
"""

from __future__ import annotations

import logging
import time

from tokenforce.wire.scans import ScanStatus
from tokenforce_core.forcing.predictor import NotNumbers
from tokenforce_core.forcing.sweep import Sweep
from tokenforce_core.forcing.trace import with_texts
from tokenforce_core.scans.stages import after_sweep
from tokenforce_workers.engine.for_scan import decoder_of_ids, no_numbers, target_engine
from tokenforce_workers.engine.warm_engine import warm
from tokenforce_workers.jobs.control import Cancelled, Control, through_outages

log = logging.getLogger(__name__)


def sweep(scan_id: str, shard_index: int) -> dict[str, int]:
    """Sweep one shard and commit it; the last shard to be committed starts the next stage."""
    state = warm()
    store = state.store
    plan = store.plan(scan_id)
    if plan is None or store.status(scan_id) is not ScanStatus.sweeping:
        return {}  # cancelled or failed meanwhile: nothing to do is a success
    if shard_index not in store.committed_shards(scan_id):
        engine = target_engine(state, plan, scan_id)
        if engine is None:
            return {}
        shard = plan.shards[shard_index]
        run = Sweep(
            plan.settings,
            shard.context,
            plan.contexts[shard.context].ids,
            plan.forceable_ids[shard.start : shard.stop],
            frozenset(plan.end_ids),
            known_best=store.kth_best(scan_id, shard.context, plan.settings.keep),
        )
        cost = plan.prompt_cost(shard.context) - 1

        def tokens() -> int:
            return run.generated + cost * run.done

        control = Control(state, scan_id, str(shard_index), lambda: (run.done, tokens()))
        started = time.monotonic()
        try:
            best = run.run(engine, control)
        except Cancelled:
            return {}
        except NotNumbers:
            no_numbers(store, plan, scan_id, engine.dtype)
            return {}
        decode = decoder_of_ids(plan)
        swept = [with_texts(trace, decode) for trace in best]
        through_outages(
            lambda: store.commit_shard(
                scan_id, shard_index, shard.context, swept, len(shard), tokens(), plan.settings.keep
            )
        )
        seconds = time.monotonic() - started
        log.info("shard %s-%d: %d entries, %d tokens, %.1f s", scan_id, shard_index, len(shard), tokens(), seconds)
    after_sweep(store, scan_id, plan)
    return {"shard": shard_index}
