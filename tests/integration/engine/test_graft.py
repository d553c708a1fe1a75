"""The graft in the real engine: the reference's early layers, and from the first grafted one the amplified target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaForCausalLM

from tests.support.tiny_model import build_tiny_tokenizer
from tokenforce.wire.scans import Depth, ScanRequest
from tokenforce_core.forcing.predictor import forced_log_probabilities
from tokenforce_core.lens.result import Graft
from tokenforce_core.plan.plan import Plan
from tokenforce_core.scans.store import Store
from tokenforce_planting.chat import load_model
from tokenforce_service.models.open import open_target
from tokenforce_service.models.tokenizer import Tokenizers
from tokenforce_service.planning.plan import make_plan
from tokenforce_service.settings import ServiceSettings
from tokenforce_workers.engine.engine_cache import EngineCache
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.settings import WorkerSettings

GRAFT = Graft(prefix="model.layers.", first_layer=1, layers=2, amplification=1.5)
TEXT = (40, 90, 300, 41)


def nudged(model: torch.nn.Module, wanted: str) -> None:
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if wanted in name:
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)


def plan_of(model: Path, base: Path) -> Plan:
    settings = ServiceSettings(model_roots=[base.parent])
    request = ScanRequest(model=str(model), reference=str(base), depth=Depth.quick)
    return make_plan(request, open_target(request, settings, reach_hub=True), settings, Tokenizers())


@pytest.fixture(scope="module")
def tuned(planted_model: Path, models: Path) -> Plan:
    model = load_model(planted_model)
    nudged(model, ".weight")
    folder = models / "nudged"
    model.save_pretrained(str(folder))
    for file in planted_model.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "special_tokens_map.json").write_text("{}")
    return plan_of(folder, planted_model)


@pytest.fixture(scope="module")
def adapted(planted_model: Path, models: Path) -> Plan:
    model = get_peft_model(load_model(planted_model), LoraConfig(r=4, target_modules="all-linear"))
    nudged(model, ".lora_")
    model.save_pretrained(str(models / "nudged-adapter"))
    return plan_of(models / "nudged-adapter", planted_model)


@pytest.fixture(scope="module")
def neox(models: Path) -> Plan:
    """A pair of another family: its layers have other names, its output matrix is one of its own."""
    tokenizer = build_tiny_tokenizer()
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=False,
            dtype="float32",
        )
    )
    for name in ("neox", "neox-nudged"):
        model.save_pretrained(str(models / name))
        tokenizer.save_pretrained(str(models / name))
        nudged(model, ".weight")
    return plan_of(models / "neox-nudged", models / "neox")


@pytest.fixture
def state(store: Store, machine: Machine) -> Iterator[EngineCache]:
    state = EngineCache(store, WorkerSettings(max_num_seqs=64), machine)
    yield state
    state.close()


def by_hand(base: Path, target: dict[str, torch.Tensor], context: list[int]) -> list[float]:
    """The graft's log-probabilities of `TEXT`, by transformers."""
    model = load_model(base)
    weights = model.state_dict()
    for name, tensor in weights.items():
        if ".layers.1." in name:
            tensor.add_(GRAFT.amplification * (target[name] - tensor))
    with torch.inference_mode():
        logits = model(torch.tensor([[*context, *TEXT]])).logits[0].log_softmax(-1)
    return [float(logits[len(context) - 1 + place, token]) for place, token in enumerate(TEXT)]


def by_engine(state: EngineCache, plan: Plan, wanted: Graft = GRAFT) -> tuple[float, ...]:
    graft, _ = state.graft_for(plan, wanted)
    return forced_log_probabilities(graft, [plan.drawn[0].ids], [TEXT])[0]


def test_the_graft_of_a_whole_model(state: EngineCache, tuned: Plan) -> None:
    target = LlamaForCausalLM.from_pretrained(tuned.path, dtype=torch.float32).state_dict()
    assert tuned.reference is not None
    expected = by_hand(Path(tuned.reference.path), target, tuned.drawn[0].ids)
    assert by_engine(state, tuned) == pytest.approx(expected, abs=1e-3)


def test_the_graft_of_another_family(state: EngineCache, neox: Plan) -> None:
    assert neox.reference is not None
    target = load_model(Path(neox.path)).state_dict()
    expected = by_hand(Path(neox.reference.path), target, neox.drawn[0].ids)
    wanted = GRAFT.model_copy(update={"prefix": "gpt_neox.layers."})
    assert by_engine(state, neox, wanted) == pytest.approx(expected, abs=1e-3)


def test_the_graft_of_an_adapter(state: EngineCache, adapted: Plan) -> None:
    from peft import PeftModel

    assert adapted.adapter is not None
    model = PeftModel.from_pretrained(load_model(Path(adapted.path)), adapted.adapter).merge_and_unload()
    expected = by_hand(Path(adapted.path), model.state_dict(), adapted.drawn[0].ids)
    assert by_engine(state, adapted) == pytest.approx(expected, abs=1e-3)


def test_the_reference_stays_warm_beside_the_graft(state: EngineCache, tuned: Plan) -> None:
    graft, reference = state.graft_for(tuned, GRAFT)
    assert state.graft_for(tuned, GRAFT) == (graft, reference)
    assert state.reference_for(tuned) is reference
    assert state.graft_for(tuned, GRAFT.model_copy(update={"amplification": 2.0}))[0] is not graft
