"""The two GPU jobs: sweep one shard, confirm the survivors. Both are idempotent.

The jobs know the scan and the shard only; everything else is in the stored plan.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache, lru_cache

from transformers import AutoTokenizer

from tokenforce.types import ErrorCode, Problem, ScanStatus
from tokenforce_core.confirmation import Confirmation
from tokenforce_core.plan import Plan
from tokenforce_core.results import confirmed_text, swept_text
from tokenforce_core.stages import start_aggregation, start_confirmation
from tokenforce_core.store import Store
from tokenforce_core.sweep import Sweep
from tokenforce_workers.control import Cancelled, Control, through_outages
from tokenforce_workers.engine import Engine
from tokenforce_workers.warm import WarmEngine, warm

log = logging.getLogger(__name__)


def sweep(scan_id: str, shard_index: int) -> dict[str, int]:
    """Sweep one shard and commit it; the last shard to be committed starts the confirmation."""
    state = warm()
    store = state.store
    plan = store.plan(scan_id)
    if plan is None or store.status(scan_id) is not ScanStatus.sweeping:
        return {}  # cancelled or failed meanwhile: nothing to do is a success
    if shard_index not in store.committed_shards(scan_id):
        engine = _engine(state, plan, scan_id)
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
        decode = _decoder_of_ids(plan.path, plan.target.digest)
        swept = [swept_text(candidate, decode) for candidate in best]
        through_outages(
            lambda: store.commit_shard(
                scan_id, shard_index, shard.context, swept, len(shard), tokens(), plan.settings.keep
            )
        )
        seconds = time.monotonic() - started
        log.info("shard %s-%d: %d entries, %d tokens, %.1f s", scan_id, shard_index, len(shard), tokens(), seconds)
    start_confirmation(store, scan_id, plan)
    return {"shard": shard_index}


def confirm(scan_id: str) -> dict[str, int]:
    """Decode the best candidates of every context for β tokens, then hand over to the aggregator."""
    state = warm()
    store = state.store
    plan = store.plan(scan_id)
    if plan is None or store.status(scan_id) is not ScanStatus.confirming:
        return {}
    if store.confirmed(scan_id) is None:
        swept = store.swept(scan_id)
        candidates = [
            item.candidate
            for context in range(len(plan.contexts))
            for item in [s for s in swept if s.candidate.context == context][: plan.settings.keep]
        ]
        store.set_confirm_total(scan_id, len(candidates))
        engine = _engine(state, plan, scan_id)
        if engine is None:
            return {}
        decode = _decoder_of_ids(plan.path, plan.target.digest)

        @cache
        def is_separator(token_id: int) -> bool:
            return not any(character.isalnum() for character in decode([token_id]))

        contexts = [context.ids for context in plan.contexts]
        run = Confirmation(plan.settings, contexts, candidates, frozenset(plan.end_ids), is_separator)
        control = Control(state, scan_id, "confirm", lambda: (run.done, run.generated))
        try:
            confirmed = run.run(engine, control)
        except Cancelled:
            return {}
        cost = sum(plan.prompt_cost(candidate.context) - 1 for candidate in candidates)
        texts = [confirmed_text(item, decode) for item in confirmed]
        through_outages(lambda: store.commit_confirmed(scan_id, texts, run.generated + cost))
    start_aggregation(store, scan_id)
    return {"candidates": len(store.confirmed(scan_id) or [])}


def _engine(state: WarmEngine, plan: Plan, scan_id: str) -> Engine | None:
    """The warm engine on the plan's model; fails the scan and returns None if vLLM refuses the model."""
    architecture = plan.target.architecture
    if state.store.supports(architecture) is False:
        detail = f"The engine does not know the architecture {architecture}; nothing was scanned."
        _refuse(state.store, scan_id, ErrorCode.unsupported_architecture, detail)
        return None
    try:
        engine = state.engine_for(plan)
    except (ValueError, KeyError, RuntimeError, NotImplementedError, OSError) as error:
        # What vLLM raises for a config or weights that it cannot load; a retry would end the same way.
        reason = str(error).strip().splitlines()[-1][:300] if str(error).strip() else type(error).__name__
        log.warning("scan %s: the engine refused the model", scan_id, exc_info=True)
        _refuse(state.store, scan_id, ErrorCode.engine_failed, f"The engine could not load the model: {reason}")
        return None
    state.store.note_engine(scan_id, state.facts())
    return engine


def _refuse(store: Store, scan_id: str, code: ErrorCode, detail: str) -> None:
    kind = f"urn:tokenforce:problem:{code.value}"
    problem = Problem(type=kind, title="The model cannot be scanned", status=422, detail=detail, code=code)
    store.fail(scan_id, problem)


@lru_cache(maxsize=2)
def _decoder_of_ids(path: str, digest: str) -> Callable[..., str]:  # noqa: ARG001 - part of the key
    """Token ids → text with the target's own tokenizer; no code from the model folder runs.

    `digest` is part of the key: another upload may lie at the same path by now.
    """
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)

    def decode(ids: list[int]) -> str:
        # Clean-up would drop spaces that the model did say.
        text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    return decode
