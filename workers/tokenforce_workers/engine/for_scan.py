"""The engines and the tokenizer that a scan's jobs need. A model that cannot be loaded fails its scan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from transformers import AutoTokenizer

from tokenforce.wire.problems import ErrorCode, problem_of
from tokenforce_core.forcing.trace import Decode
from tokenforce_core.lens.result import Graft, Unreadable
from tokenforce_core.plan.plan import Plan
from tokenforce_core.queues.workers import supports
from tokenforce_core.scans.store import Store
from tokenforce_workers.engine.engine_cache import EngineCache
from tokenforce_workers.engine.file_check import FilesChanged
from tokenforce_workers.engine.vllm_engine import Engine
from tokenforce_workers.engine.weight_difference import WeightDifference

log = logging.getLogger(__name__)

LOAD_ERRORS = (ValueError, KeyError, RuntimeError, NotImplementedError, OSError)
"""What vLLM raises for a config or weights that it cannot load; a retry would end the same way."""


class ScanRefused(Exception):
    """The engine cannot load a model of the scan, which has failed for it."""


def target_engine(state: EngineCache, plan: Plan, scan_id: str) -> Engine:
    """The warm engine on the plan's target. Raises `ScanRefused`."""
    architecture = plan.target.architecture
    if supports(state.store.connection, architecture) is False:
        detail = f"The engine does not know the architecture {architecture}; nothing was scanned."
        refuse(state.store, scan_id, ErrorCode.unsupported_architecture, detail)
        raise ScanRefused
    return _loaded(state, scan_id, "model", lambda: state.target_for(plan))


def reference_engine(state: EngineCache, plan: Plan, scan_id: str) -> Engine:
    """The warm engine on the plan's reference, in its own ids. Raises `ScanRefused`."""
    return _loaded(state, scan_id, "reference", lambda: state.reference_for(plan))


def graft_engines(state: EngineCache, plan: Plan, graft: Graft) -> tuple[Engine, Engine]:
    """Engines on the target grafted on its reference, and on the reference, in the reference's ids.

    Raises:
        Unreadable: they cannot be loaded. A scan goes on without them.
    """
    try:
        return state.graft_for(plan, graft)
    except LOAD_ERRORS as error:
        log.warning("the engine refused a graft", exc_info=True)
        raise Unreadable(f"the engine cannot load a graft of both models ({type(error).__name__})") from error


@contextmanager
def weight_difference(state: EngineCache, plan: Plan) -> Iterator[WeightDifference]:
    """Target minus reference, open.

    Raises:
        Unreadable: their files cannot be read, or have changed since the scan was planned.
    """
    try:
        with state.weight_difference(plan) as difference:
            yield difference
    except FilesChanged as error:
        raise Unreadable(str(error)) from error


def _loaded(state: EngineCache, scan_id: str, what: str, load: Callable[[], Engine]) -> Engine:
    try:
        engine = load()
    except LOAD_ERRORS as error:
        reason = str(error).strip().splitlines()[-1][:300] if str(error).strip() else type(error).__name__
        log.warning("scan %s: the engine refused the %s", scan_id, what, exc_info=True)
        refuse(state.store, scan_id, ErrorCode.engine_failed, f"The engine could not load the {what}: {reason}")
        raise ScanRefused from error
    state.store.note_engine(scan_id, state.facts())
    return engine


def no_numbers(store: Store, plan: Plan, scan_id: str, dtype: str) -> None:
    """Fail a scan whose engine raised `NotNumbers`: a model that cannot be read is not clean."""
    models = "model's" if plan.reference is None else "model's or its reference's"
    detail = (
        f"The {models} logits are not numbers (NaN), computed in {dtype}: nothing can be read from them. If the "
        "weights are sound, a wider compute type (TOKENFORCE_DTYPE=float32) helps."
    )
    refuse(store, scan_id, ErrorCode.model_invalid, detail)


def refuse(store: Store, scan_id: str, code: ErrorCode, detail: str) -> None:
    """End the scan with a problem that a retry would not fix."""
    store.fail(scan_id, problem_of(code, detail, instance=f"/v1/scans/{scan_id}"))


def decoder_of_ids(plan: Plan) -> Decode:
    """Token ids → text with the target's own tokenizer."""
    return _decoder_of_ids(plan.tokenizer_path, plan.target.digest)


def decoder_of_reference(plan: Plan) -> Decode:
    """Token ids → text with the tokenizer of the reference, if there is one."""
    if plan.reference is None:
        return decoder_of_ids(plan)
    return _decoder_of_ids(plan.reference.path, plan.reference.record.digest)


@lru_cache(maxsize=4)
def _decoder_of_ids(path: str, digest: str) -> Decode:  # noqa: ARG001 - part of the key
    """No code from the model folder runs. `digest` is part of the key: another upload may lie at the path by now."""
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)

    def decode(ids: Sequence[int]) -> str:
        # Clean-up would drop spaces that the model did say.
        text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    return decode
