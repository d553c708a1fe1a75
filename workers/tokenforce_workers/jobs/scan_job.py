"""What every GPU job of a scan does: find the plan, get the engines, drop its work if the scan has ended meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec

from tokenforce.wire.scans import ScanStatus
from tokenforce_core.forcing.predictor import NotNumbers
from tokenforce_core.forcing.trace import Decode
from tokenforce_core.lens.result import Graft
from tokenforce_core.plan.plan import Plan
from tokenforce_core.scans.store import Store
from tokenforce_core.scans.work_store import WorkStore
from tokenforce_workers.engine.engine_cache import EngineCache, engine_cache
from tokenforce_workers.engine.for_scan import (
    ScanRefused,
    decoder_of_ids,
    decoder_of_reference,
    graft_engines,
    no_numbers,
    reference_engine,
    target_engine,
    weight_difference,
)
from tokenforce_workers.engine.vllm_engine import Engine
from tokenforce_workers.engine.weight_difference import WeightDifference
from tokenforce_workers.jobs.control import Cancelled, Control

P = ParamSpec("P")


@dataclass(frozen=True)
class ScanJob:
    """One job of one scan, on this process's engines."""

    scan_id: str
    plan: Plan
    state: EngineCache

    @property
    def store(self) -> Store:
        return self.state.store

    @property
    def work(self) -> WorkStore:
        return self.state.store.work

    @property
    def decode_answers(self) -> Decode:
        """The reference's decoder: the upload's own one could make all texts look alike. Their ids are the same where
        the weights are compared."""
        return decoder_of_reference(self.plan)

    @property
    def decode(self) -> Decode:
        """Token ids to text, with the target's tokenizer."""
        return decoder_of_ids(self.plan)

    def target(self) -> Engine:
        """The engine on the plan's target. Raises `ScanRefused`."""
        return target_engine(self.state, self.plan, self.scan_id)

    def reference(self) -> Engine:
        """The engine on the plan's reference, in the reference's own ids. Raises `ScanRefused`."""
        return reference_engine(self.state, self.plan, self.scan_id)

    def graft(self, graft: Graft) -> tuple[Engine, Engine]:
        """Engines on the target grafted on its reference, and on the reference. Raises `Unreadable`."""
        return graft_engines(self.state, self.plan, graft)

    def weight_difference(self) -> AbstractContextManager[WeightDifference]:
        """Target minus reference, open. Raises `Unreadable`."""
        return weight_difference(self.state, self.plan)

    def control(self, part: str, counts: Callable[[], tuple[int, int]]) -> Control:
        """See `Control`."""
        return Control(self.state, self.scan_id, part, counts)


ScanWork = Callable[Concatenate[ScanJob, P], None]
RqJob = Callable[Concatenate[str, P], None]


def scan_job(status: ScanStatus) -> Callable[[ScanWork[P]], RqJob[P]]:
    """Makes an RQ job, whose first argument is a scan's id, of a function that does a scan's work in `status`.

    Nothing happens if the scan has another status: it was cancelled, or has failed, or its work is done. What the
    function has not committed is dropped if the scan ends while it runs, or if it ends the scan itself: the engine
    cannot load a model, or a model's logits are not numbers.
    """

    def decorate(work: ScanWork[P]) -> RqJob[P]:
        @wraps(work)
        def run(scan_id: str, /, *args: P.args, **kwargs: P.kwargs) -> None:
            state = engine_cache()
            plan = state.store.plan(scan_id)
            if plan is None or state.store.status(scan_id) is not status:
                return
            job = ScanJob(scan_id, plan, state)
            try:
                work(job, *args, **kwargs)
            except (Cancelled, ScanRefused):
                return
            except NotNumbers:
                no_numbers(state.store, plan, scan_id, state.dtype_for(plan))

        return run

    return decorate
