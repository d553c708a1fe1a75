"""The engines that a worker keeps loaded, as process state that jobs can reach.

RQ calls jobs as plain functions, so the state is process-wide: set once at start by `install`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tokenforce_core.lens.result import Graft
from tokenforce_core.plan.hashed import Hashed
from tokenforce_core.plan.plan import Plan
from tokenforce_core.scans.store import Store
from tokenforce_workers.engine.adapter_policy import is_merged
from tokenforce_workers.engine.file_check import FilesChanged, check_unchanged
from tokenforce_workers.engine.machine import Machine, engine_versions
from tokenforce_workers.settings import WorkerSettings

if TYPE_CHECKING:  # importing it loads vllm, which has to wait until the environment is prepared
    from tokenforce_workers.engine.vllm_engine import Engine
    from tokenforce_workers.engine.weight_difference import WeightDifference

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineNeed:
    """What an engine has to be to serve a scan: `share`, `lora_rank` and `adapter` as in `Engine`.

    `digest` is of the weights that it computes with, a merged adapter's among them. `loading`: arguments of the engine
    for weights that are not simply those in the folder.
    """

    path: str
    digest: str
    dtype: str
    length: int
    share: int
    lora_rank: int | None
    adapter: str | None
    loading: Mapping[str, Any] = field(default_factory=dict)

    def served_by(self, digest: str, engine: Engine) -> bool:
        return (
            (self.digest, self.path, self.dtype) == (digest, engine.path, engine.dtype)
            and self.length <= engine.max_model_len
            and self.share <= engine.share
            and (self.lora_rank or 0) <= engine.lora_rank
        )


class EngineCache:
    """Loads engines on demand and keeps the last ones warm: the target's, and its reference's beside it."""

    def __init__(self, store: Store, settings: WorkerSettings, machine: Machine) -> None:
        self.store = store
        self.settings = settings
        self.machine = machine
        self.stopping = threading.Event()
        self.last_step = time.monotonic()
        self._warm: list[tuple[str, Engine]] = []
        self._loading = threading.Event()

    @property
    def loading(self) -> bool:
        """True while a model loads: no engine steps are expected then."""
        return self._loading.is_set()

    @property
    def loaded(self) -> bool:
        """Whether any model is loaded."""
        return bool(self._warm)

    def target_for(self, plan: Plan) -> Engine:
        """The engine on the plan's target, loading it if another one is warm.

        Raises:
            FilesChanged: they are not what the planner has hashed.
            ValueError, RuntimeError, OSError: vLLM cannot load the model or the adapter.
        """
        engine = self._engine_for(self._target(plan), plan.hashed, keep=self._reference(plan))
        if plan.adapter is None or self._merged(plan):
            return engine
        with self._load_of(plan.hashed[1:]):
            return engine.adapted(plan.adapter, plan.target.digest)

    def reference_for(self, plan: Plan) -> Engine:
        """The engine on the reference of a plan that has one; for an adapter that is not merged, the target's engine.

        Raises:
            FilesChanged: its files are not what the planner has hashed.
            ValueError, RuntimeError, OSError: vLLM cannot load the model.
        """
        wanted = self._reference(plan)
        assert wanted is not None
        assert plan.reference is not None
        return self._engine_for(wanted, [plan.reference.hashed], keep=self._target(plan))

    def graft_for(self, plan: Plan, graft: Graft) -> tuple[Engine, Engine]:
        """Engines on the target grafted on its reference, and on the reference; both in the reference's ids.

        Raises:
            FilesChanged: the files of either are not what the planner has hashed.
            ValueError, RuntimeError, OSError: vLLM cannot load the graft, or has no memory for both.
        """
        from tokenforce_workers.engine.graft_loader import grafting

        if self.machine.on_cpu and plan.adapter is not None and not self._merged(plan):
            raise ValueError("an adapter that is not merged leaves no memory for a second copy of its base")
        found = self._reference(plan)
        assert found is not None
        assert plan.reference is not None
        reference = replace(found, share=2)
        wanted = replace(
            reference,
            path=plan.reference.path,
            digest=f"graft {graft.model_dump_json()} of {plan.target.digest} on {plan.reference.record.digest}",
            lora_rank=None,
            adapter=None,
            loading=grafting(plan, graft),
        )
        base = self._engine_for(reference, [plan.reference.hashed], keep=wanted)
        return self._engine_for(wanted, [*plan.hashed, plan.reference.hashed], keep=reference), base

    @contextmanager
    def weight_difference(self, plan: Plan) -> Iterator[WeightDifference]:
        """Target minus reference, open. Raises `FilesChanged`, `Unreadable`."""
        from tokenforce_workers.engine.weight_difference import difference_of

        assert plan.reference is not None
        with self._load_of([*plan.hashed, plan.reference.hashed]), difference_of(plan) as difference:
            yield difference

    def dtype_for(self, plan: Plan) -> str:
        """The compute type of target and reference: rounding them differently would look like contrast."""
        # A light adapter that is merged in a coarser type is rounded away.
        stored = "float32" if self._merged(plan) else plan.target.dtype
        return self.settings.dtype or self.machine.compute_dtype(stored)

    def _merged(self, plan: Plan) -> bool:
        return is_merged(plan, self.settings, self.machine)

    def _target(self, plan: Plan) -> EngineNeed:
        # A model without a stated limit may take no more than the plan needs.
        limit = plan.target.max_positions or plan.max_length
        length = min(max(plan.max_length, self.settings.max_model_len), limit)
        dtype = self.dtype_for(plan)
        if plan.adapter is not None and not self._merged(plan):
            return EngineNeed(plan.path, plan.loaded_digest, dtype, length, 1, plan.lora_rank, None)
        share = 1 if plan.reference is None else 2
        return EngineNeed(plan.path, plan.target.digest, dtype, length, share, None, plan.adapter)

    def _reference(self, plan: Plan) -> EngineNeed | None:
        if plan.reference is None:
            return None
        target = self._target(plan)
        if plan.reference.record.digest == target.digest:
            return target
        return replace(
            target, path=plan.reference.path, digest=plan.reference.record.digest, lora_rank=None, adapter=None
        )

    def _engine_for(self, wanted: EngineNeed, hashed: Sequence[Hashed], keep: EngineNeed | None) -> Engine:
        from tokenforce_workers.engine.vllm_engine import Engine

        for digest, ready in self._warm:
            if wanted.served_by(digest, ready):
                return ready
        engine: Engine | None = None
        try:
            with self._load_of(hashed):
                self._close([item for item in self._warm if keep is None or not keep.served_by(*item)])
                started = time.monotonic()
                engine = Engine(
                    wanted.path,
                    wanted.dtype,
                    wanted.length,
                    self.machine,
                    self.settings,
                    share=wanted.share,
                    lora_rank=wanted.lora_rank,
                    adapter=wanted.adapter,
                    loading=wanted.loading,
                )
                self._warm.append((wanted.digest, engine))
        except (FilesChanged, OSError):
            self._close([item for item in self._warm if item[1] is engine])
            raise
        what = wanted.path if wanted.adapter is None else f"{wanted.path} with {wanted.adapter} merged"
        log.info("engine warm on %s (%s) after %.1f s", what, wanted.dtype, time.monotonic() - started)
        return engine

    @contextmanager
    def _load_of(self, hashed: Sequence[Hashed]) -> Iterator[None]:
        """Around a load: checks the files against their hashes before and after it. No engine step is due meanwhile."""
        self.last_step = time.monotonic()
        self._loading.set()
        try:
            check_unchanged(hashed)
            self.last_step = time.monotonic()  # reading files can take as long as loading them
            yield
            check_unchanged(hashed)
        finally:
            self.last_step = time.monotonic()
            self._loading.clear()

    def facts(self) -> dict[str, str]:
        """Versions, device and compute type, for the report."""
        dtype = self._warm[-1][1].dtype if self._warm else ""
        return {**engine_versions(), "device": self.machine.device, "dtype": dtype}

    def close(self) -> None:
        self._close(list(self._warm))

    def _close(self, unneeded: list[tuple[str, Engine]]) -> None:
        for item in unneeded:
            self._warm.remove(item)
            item[1].close(last=not self._warm)


_state: EngineCache | None = None


def install(state: EngineCache) -> None:
    global _state
    _state = state


def engine_cache() -> EngineCache:
    """The process's engine state.

    Raises:
        RuntimeError: called outside a worker.
    """
    if _state is None:
        raise RuntimeError("this job runs only inside a tokenforce worker")
    return _state
