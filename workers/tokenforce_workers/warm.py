"""The worker's one warm engine and what goes with it, as process state that jobs can reach.

RQ calls jobs as plain functions, so the state is process-wide: set once at start by `install`.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from tokenforce_core.plan import Plan
from tokenforce_core.store import Store
from tokenforce_workers.machine import Machine, engine_versions
from tokenforce_workers.settings import WorkerSettings

if TYPE_CHECKING:  # importing it loads vllm, which has to wait until the environment is prepared
    from tokenforce_workers.engine import Engine

log = logging.getLogger(__name__)


class WarmEngine:
    """Loads engines on demand and keeps the last one warm."""

    def __init__(self, store: Store, settings: WorkerSettings, machine: Machine) -> None:
        self.store = store
        self.settings = settings
        self.machine = machine
        self.stopping = threading.Event()
        self.last_step = time.monotonic()
        self._engine: Engine | None = None
        self._digest = ""
        self._loading = threading.Event()

    @property
    def loading(self) -> bool:
        """True while a model loads: no engine steps are expected then."""
        return self._loading.is_set()

    def engine_for(self, plan: Plan) -> Engine:
        """The engine on the plan's target, loading it if another one is warm.

        Raises:
            ValueError, RuntimeError, OSError: vLLM cannot load the model.
        """
        from tokenforce_workers.engine import Engine

        dtype = self.settings.dtype or self.machine.compute_dtype(plan.target.dtype)
        current = self._engine
        if (
            current is not None
            and (self._digest, current.path, current.dtype) == (plan.target.digest, plan.path, dtype)
            and plan.max_length <= current.max_model_len
        ):
            return current
        self.last_step = time.monotonic()
        self._loading.set()
        try:
            self.close()
            # Without a stated limit nothing is added: the model may take no more than the plan needs.
            limit = plan.target.max_positions or plan.max_length
            length = min(max(plan.max_length, self.settings.max_model_len), limit)
            started = time.monotonic()
            self._engine = Engine(plan.path, dtype, length, self.machine, self.settings)
            self._digest = plan.target.digest
            log.info("engine warm on %s (%s) after %.1f s", plan.target.model, dtype, time.monotonic() - started)
            return self._engine
        finally:
            self.last_step = time.monotonic()
            self._loading.clear()

    def facts(self) -> dict[str, str]:
        """What the evidence was made with."""
        dtype = self._engine.dtype if self._engine else ""
        return {**engine_versions(), "device": self.machine.device, "dtype": dtype}

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
            self._digest = ""


_state: WarmEngine | None = None


def install(state: WarmEngine) -> None:
    global _state
    _state = state


def warm() -> WarmEngine:
    """The process's engine state.

    Raises:
        RuntimeError: called outside a worker.
    """
    if _state is None:
        raise RuntimeError("this job runs only inside a tokenforce worker")
    return _state
