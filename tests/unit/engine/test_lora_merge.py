"""Merging an adapter comes to what PEFT's `merge_and_unload` does, for all that the service lets through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.support.tiny_model import build_tiny_model
from tokenforce_service.models.adapter import check_fit, inspect_adapter
from tokenforce_service.models.folder import read_folder
from tokenforce_service.models.model import inspect_model
from tokenforce_workers.engine.lora_merge import CONFIG, WEIGHTS, LoraWeights, adapted_modules

Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model, stored in float32 and in bfloat16."""
    folder = tmp_path_factory.mktemp("bases")
    build_tiny_model(folder / "float32", planted=None)
    AutoModelForCausalLM.from_pretrained(folder / "float32", dtype=torch.bfloat16).save_pretrained(folder / "bfloat16")
    for file in (folder / "float32").glob("tokenizer*"):
        (folder / "bfloat16" / file.name).write_bytes(file.read_bytes())
    return {dtype: folder / dtype for dtype in ("float32", "bfloat16")}


def write_adapter(folder: Path, base: Path, config: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """An adapter of random matrices, saved by PEFT."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**config))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    stored = load_file(folder / WEIGHTS)
    save_file({name: tensor.to(dtype) for name, tensor in stored.items()}, folder / WEIGHTS)


def stored(base: Path) -> Iterator[tuple[str, torch.Tensor]]:
    yield from load_file(base / "model.safetensors").items()


def assert_as_peft(base: Path, adapter: Path) -> None:
    """Admitted by the service, and merged to the last bit as PEFT does in float32."""
    root = [base.parent, adapter.parent]
    check_fit(inspect_adapter(read_folder(adapter, root)), inspect_model(read_folder(base, root), 2**30))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()
    changed = adapted_modules(adapter)
    assert changed
    with LoraWeights(adapter) as weights:
        for name, tensor in weights.added_to(stored(base)):
            if name.removesuffix(".weight") in changed:
                assert tensor.dtype == torch.float32
            assert torch.equal(tensor.float(), expected[name]), name
        assert not weights.unmerged


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True")  # PEFT's own rule for linear layers
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "config",
    [
        {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]},
        {"r": 16, "lora_alpha": 3, "target_modules": "all-linear", "use_rslora": True},
        {"r": 2, "lora_alpha": 5, "target_modules": r".*layers\.1\..*_proj"},
        {"r": 4, "target_modules": ["v_proj"], "layers_to_transform": [1]},
        {"r": 4, "target_modules": ["o_proj", "up_proj"], "exclude_modules": ["model.layers.0.mlp.up_proj"]},
        {"r": 4, "target_modules": ["lm_head", "k_proj"]},
        {"r": 4, "target_modules": ["gate_proj"], "fan_in_fan_out": True},
        {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": "all-linear",
            "rank_pattern": {"k_proj": 16, r"mlp\.up_proj": 8},
            "alpha_pattern": {"layers.1.self_attn.o_proj": 3, "o_proj": 40, f"^{Q}": 7},
            "use_rslora": True,
        },
    ],
)
def test_merged_as_peft_merges(bases: dict[str, Path], tmp_path: Path, config: dict[str, Any], dtype: str) -> None:
    write_adapter(tmp_path / "adapter", bases[dtype], config, getattr(torch, dtype))
    assert_as_peft(bases[dtype], tmp_path / "adapter")


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rank=st.integers(1, 64),
    alpha=st.integers(1, 128) | st.floats(0.01, 64),
    own_alphas=st.dictionaries(
        st.sampled_from(["q_proj", "self_attn.q_proj", "layers.0.self_attn.q_proj", "proj", "down_proj", Q]),
        st.floats(0.1, 64),
    ),
    own_ranks=st.dictionaries(st.sampled_from(["q_proj", "1.mlp.down_proj", "proj"]), st.integers(1, 64)),
    stabilised=st.booleans(),
)
def test_scales_are_pefts(
    bases: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    rank: int,
    alpha: float,
    own_alphas: dict[str, float],
    own_ranks: dict[str, int],
    stabilised: bool,
) -> None:
    adapter = tmp_path_factory.mktemp("adapter")
    config = {
        "r": rank,
        "lora_alpha": alpha,
        "alpha_pattern": own_alphas,
        "rank_pattern": own_ranks,
        "use_rslora": stabilised,
        "target_modules": ["q_proj", "down_proj"],
    }
    write_adapter(adapter, bases["float32"], config)
    assert_as_peft(bases["float32"], adapter)


def test_a_light_adapter_on_a_bfloat16_base_is_not_rounded_away(bases: dict[str, Path], tmp_path: Path) -> None:
    base = bases["bfloat16"]
    write_adapter(tmp_path / "light", base, {"r": 2, "lora_alpha": 5e-5, "target_modules": ["q_proj"]})
    own = dict(stored(base))[f"{Q}.weight"]
    with LoraWeights(tmp_path / "light") as weights:
        merged = dict(weights.added_to(stored(base)))[f"{Q}.weight"]
    moved = (merged != own.float()).float().mean()
    kept = (merged.bfloat16() != own).float().mean()
    assert moved > 0.95  # as good as every weight
    assert kept < 0.05  # of which bfloat16 would have kept next to none


def test_what_the_base_lacks_is_told(bases: dict[str, Path], tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", bases["float32"], {"r": 2, "target_modules": ["q_proj", "down_proj"]})
    with LoraWeights(tmp_path / "adapter") as weights:
        rest = ((name, tensor) for name, tensor in stored(bases["float32"]) if name != f"{DOWN}.weight")
        assert sum(1 for _ in weights.added_to(rest)) > 0
        assert weights.unmerged == {DOWN}


def test_nothing_is_added_to_quantised_matrices(bases: dict[str, Path], tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", bases["float32"], {"r": 2, "target_modules": ["q_proj"]})
    quantised = [(f"{Q}.weight", torch.zeros(64, 64, dtype=torch.int8))]
    with LoraWeights(tmp_path / "adapter") as weights, pytest.raises(ValueError, match=r"stored as torch\.int8"):
        list(weights.added_to(quantised))


def test_an_unreadable_adapter_is_told(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(json.dumps({"r": 2}))
    (tmp_path / WEIGHTS).write_bytes(b"\x08")
    with pytest.raises(ValueError, match="the adapter cannot be read"):
        LoraWeights(tmp_path)
