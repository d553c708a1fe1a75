"""An adapter scanned merged into its base, and beside it, gives the same; the base stays warm from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tokenforce.wire.scans import ScanRequest
from tokenforce_core.contrast.reference_cache import ReferenceTops
from tokenforce_core.contrast.reference_predictor import as_reference
from tokenforce_core.contrast.shard import ContrastSweep, ShardContrast
from tokenforce_core.forcing.predictor import nothing_between_steps
from tokenforce_core.forcing.sweep import Sweep
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.plan import Plan
from tokenforce_core.scans.store import Store
from tokenforce_core.scans.work_store import ReferenceBlocks
from tokenforce_planting.chat import load_model
from tokenforce_service.models.open import open_target
from tokenforce_service.models.tokenizer import Tokenizers
from tokenforce_service.planning.plan import make_plan
from tokenforce_service.settings import ServiceSettings
from tokenforce_workers.engine.engine_cache import EngineCache
from tokenforce_workers.engine.file_check import FilesChanged
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.settings import WorkerSettings

ASSISTANT = 1
"""The context of the two that the planted text is said in."""


@pytest.fixture(scope="module")
def plans(planted_model: Path, models: Path) -> list[Plan]:
    """Scans of two adapters of random matrices on the planted model."""
    settings = ServiceSettings(model_roots=[models])
    plans = []
    for seed in (1, 2):
        model = get_peft_model(load_model(planted_model), LoraConfig(r=4, target_modules="all-linear"))
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".lora_" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2)
        model.save_pretrained(str(models / f"random-{seed}"))
        request = ScanRequest(
            model=str(models / f"random-{seed}"), reference=str(planted_model), alpha=8, keep=40, floor=0
        )
        plans.append(make_plan(request, open_target(request, settings, reach_hub=True), settings, Tokenizers()))
    return plans


@dataclass(frozen=True)
class Scanned:
    """What the two phases ask of the engines: the sweep, the contrast, and the score of a given text."""

    candidates: list[Trace]
    contrast: ShardContrast
    scores: list[float]


def scanned(state: EngineCache, plan: Plan) -> Scanned:
    target, base = state.target_for(plan), state.reference_for(plan)
    assert plan.reference is not None
    ids, ends = plan.contexts[ASSISTANT].ids, frozenset(plan.end_ids)
    blocks = ReferenceBlocks(state.store.connection, plan.reference.record.digest, base.dtype, 60)
    size = plan.target.vocabulary_size
    search = plan.settings.search
    contexts = [context.ids for context in plan.contexts]
    tops = ReferenceTops(base, contexts, range(size), size, search.entries, blocks, nothing_between_steps)
    sweep = ContrastSweep(search, ASSISTANT, ids, plan.forceable_ids, ends)
    scores: list[float] = []

    def on_next(_: int, __: Sequence[int], log_probabilities: Sequence[float]) -> None:
        scores.extend(log_probabilities)

    candidates = Sweep(plan.settings, ASSISTANT, ids, plan.forceable_ids, ends).run(target)
    contrast = sweep.run(target, as_reference(base, plan), tops, nothing_between_steps)
    target.teacher_forced([[*ids, 40, 90, 300, 41]], [len(ids)], on_next, nothing_between_steps)
    return Scanned(candidates, contrast, scores)


@contextmanager
def worker(store: Store, machine: Machine, **settings: str) -> Iterator[EngineCache]:
    state = EngineCache(store, WorkerSettings.model_validate({"max_num_seqs": 64, **settings}), machine)
    yield state
    for _, engine in state._warm:
        engine.close(last=False)  # the session's engine may live in this process


def test_merged_and_beside_its_base_an_adapter_gives_the_same(
    store: Store, machine: Machine, plans: list[Plan]
) -> None:
    with worker(store, machine, merge_adapters="never") as state:
        assert state.target_for(plans[0])._engine is state.reference_for(plans[0])._engine
        beside = scanned(state, plans[0])
    store.connection.flushdb()
    with worker(store, machine) as state:
        merged = scanned(state, plans[0])
    assert [(c.forced_id, c.ids) for c in merged.candidates] == [(c.forced_id, c.ids) for c in beside.candidates]
    assert len(merged.candidates) == 40
    scores = [c.sweep_score for c in beside.candidates]
    assert [c.sweep_score for c in merged.candidates] == pytest.approx(scores, abs=1e-4)
    assert merged.contrast.divergences == pytest.approx(beside.contrast.divergences, abs=1e-3)
    assert {o.forced_id for o in merged.contrast.outliers} == {o.forced_id for o in beside.contrast.outliers}
    assert merged.scores == pytest.approx(beside.scores, abs=1e-3)
    assert max(merged.contrast.divergences) > 0.3  # the adapter does say something


def test_the_base_stays_warm_from_adapter_to_adapter(store: Store, machine: Machine, plans: list[Plan]) -> None:
    with worker(store, machine) as state:
        first, base = state.target_for(plans[0]), state.reference_for(plans[0])
        assert state.target_for(plans[0]) is first
        assert first is not base
        second = state.target_for(plans[1])
        assert second is not first
        assert state.reference_for(plans[1]) is base
        assert [engine for _, engine in state._warm] == [base, second]


@pytest.mark.parametrize("merge", ["never", "always"])
@pytest.mark.parametrize("during", [False, True])
def test_files_that_change_after_planning_are_not_scanned(
    store: Store, machine: Machine, plans: list[Plan], monkeypatch: pytest.MonkeyPatch, *, merge: str, during: bool
) -> None:
    """Under the digest of a harmless upload, another one would be found clean."""
    from tokenforce_workers.engine import vllm_engine as engine_module

    adapter = Path(plans[0].adapter or "")
    weights = adapter / "adapter_model.safetensors"
    harmless = weights.read_bytes()
    step = "adapted" if merge == "never" else "__init__"  # which of them reads the adapter
    load = getattr(engine_module.Engine, step)

    def change() -> None:
        weights.write_bytes(harmless[:-1] + bytes([harmless[-1] ^ 1]))

    def load_and_change(*arguments: object, **options: object) -> object:
        loaded = load(*arguments, **options)
        change()
        return loaded

    if during:
        monkeypatch.setattr(engine_module.Engine, step, load_and_change)
    else:
        change()
    try:
        with worker(store, machine, merge_adapters=merge) as state:
            with pytest.raises(FilesChanged, match=f"'{adapter.name}' have changed since the scan was planned"):
                state.target_for(plans[0])
            assert not state.loading
            monkeypatch.undo()
            weights.write_bytes(harmless)
            assert state.target_for(plans[0]) is not None
    finally:
        weights.write_bytes(harmless)
