"""The engine puts an adapter on its base as PEFT's rules say, with ranks and alphas that differ by module."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.support.tiny_model import build_tiny_model
from tokenforce_core.forcing.predictor import nothing_between_steps
from tokenforce_service.models.adapter import WEIGHTS, check_fit, inspect_adapter
from tokenforce_service.models.folder import ADAPTER_CONFIG, read_folder
from tokenforce_service.models.model import inspect_model
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.settings import WorkerSettings

if TYPE_CHECKING:
    from tokenforce_workers.engine.vllm_engine import Engine

ALPHA = 8
RANKS = {"q_proj": 4, "k_proj": 16, "v_proj": 4, "o_proj": 4, "up_proj": 8, "down_proj": 4}
"""The engine packs the queries' matrix with keys' and values', and `up_proj` with one that is not adapted."""
CONFIG_CONTENT = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": ALPHA,
    "target_modules": sorted(RANKS),
    "rank_pattern": {"k_proj": 16, r"mlp\.up_proj": 8},
    "alpha_pattern": {"model.layers.1.self_attn.o_proj": 3, "^model.layers.0.self_attn.q_proj": 40},
}
ALPHAS = {"model.layers.1.self_attn.o_proj": 3, "model.layers.0.self_attn.q_proj": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    build_tiny_model(folder / "base", planted=None)
    return folder


@pytest.fixture(scope="module")
def merged(folder: Path) -> Any:
    """Writes the adapter of random matrices; the base with their products added, which PEFT's merging comes to."""
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32).eval()
    draw = torch.Generator().manual_seed(7)
    matrices: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        if (rank := RANKS.get(name.rpartition(".")[2])) is None:
            continue
        rows, columns = module.weight.shape
        a, b = (torch.randn(shape, generator=draw) * 0.3 for shape in ((rank, columns), (rows, rank)))
        matrices |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
        with torch.no_grad():
            module.weight += b @ a * ALPHAS.get(name, ALPHA) / rank
    (folder / "adapter").mkdir()
    (folder / "adapter" / ADAPTER_CONFIG).write_text(json.dumps(CONFIG_CONTENT))
    save_file(matrices, folder / "adapter" / WEIGHTS)
    return model


@pytest.fixture(scope="module")
def adapted(folder: Path, merged: Any, machine: Machine) -> Iterator[Engine]:
    from tokenforce_workers.engine.vllm_engine import Engine

    adapter = inspect_adapter(read_folder(folder / "adapter", [folder]))
    check_fit(adapter, inspect_model(read_folder(folder / "base", [folder]), 2**30))
    assert adapter.rank == 16
    settings = WorkerSettings(max_num_seqs=64)
    loaded = Engine(str(folder / "base"), "float32", 512, machine, settings, lora_rank=adapter.rank)
    yield loaded.adapted(str(adapter.path), "sha256:0")
    loaded.close(last=False)  # the session's engine may live in this process


def test_the_engine_speaks_as_the_merged_model(adapted: Engine, merged: Any) -> None:
    assert_speaks_as(adapted, merged)


def test_adapters_of_one_base_speak_in_turn_on_one_engine(
    adapted: Engine, folder: Path, merged: Any, tmp_path: Path
) -> None:
    """The base, this adapter and one of other weights, without the base being loaded again."""
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32).eval()
    opposite = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32).eval()
    with torch.no_grad():
        for there, here, added in zip(opposite.parameters(), base.parameters(), merged.parameters(), strict=True):
            there.copy_(2 * here - added)
    (tmp_path / ADAPTER_CONFIG).write_text(json.dumps(CONFIG_CONTENT))
    matrices = load_file(folder / "adapter" / WEIGHTS)
    save_file({n: -m if ".lora_A." in n else m for n, m in matrices.items()}, tmp_path / WEIGHTS)
    other = adapted.adapted(str(tmp_path), "sha256:1")
    plain = copy.copy(adapted)
    plain._adapter = None
    for _ in range(2):
        for engine, model in ((adapted, merged), (other, opposite), (plain, base)):
            assert_speaks_as(engine, model)


def assert_speaks_as(adapted: Engine, merged: Any) -> None:
    prompts = [[1, 300], [1, 40, 90, 200], list(range(3, 40))]
    found: list[list[float]] = [[] for _ in prompts]

    def on_token(index: int, token_id: int, log_probability: float) -> bool:
        probability = math.exp(log_probability)
        with torch.inference_mode():
            distribution = merged(torch.tensor([prompts[index]])).logits[0, -1].softmax(-1)
        assert probability == pytest.approx(distribution.max().item(), rel=1e-3)
        assert distribution[token_id].item() == pytest.approx(distribution.max().item(), rel=1e-3)
        prompts[index].append(token_id)
        found[index].append(probability)
        return True

    adapted.decode([list(prompt) for prompt in prompts], 4, on_token, nothing_between_steps)
    assert [len(probabilities) for probabilities in found] == [4, 4, 4]
