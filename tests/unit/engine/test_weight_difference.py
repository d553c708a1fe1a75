"""Target minus reference, from real safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tokenforce_core.lens.result import Unreadable
from tokenforce_core.model_files import hashed_of
from tokenforce_core.plan.hashed import Hashed
from tokenforce_workers.engine.weight_difference import WeightDifference, head_size

EMBEDDING, OUTPUT, MATRIX = "model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.down_proj.weight"


def model(folder: Path, tensors: Mapping[str, torch.Tensor], *, shards: int = 1) -> Hashed:
    folder.mkdir()
    names = sorted(tensors)
    for shard in range(shards):
        own = {name: tensors[name].contiguous() for name in names[shard::shards]}
        save_file(own, folder / f"model-{shard}.safetensors")
    return hashed_of(folder, sorted(folder.glob("*.safetensors")))


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {name: torch.randn(6, 4, generator=draw) for name in (EMBEDDING, OUTPUT, MATRIX)}


def test_changes_are_target_minus_reference_in_whatever_type_and_shards(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    moved = {name: tensor + 0.5 for name, tensor in tensors.items()} | {OUTPUT: tensors[OUTPUT]}
    reference = model(tmp_path / "base", {name: tensor.bfloat16() for name, tensor in tensors.items()})
    target = model(tmp_path / "tuned", moved, shards=2)
    with WeightDifference(reference, target, None) as difference:
        assert set(difference.names) == set(tensors)
        change = difference.change(MATRIX)
        assert change is not None
        assert change == pytest.approx(moved[MATRIX].numpy() - tensors[MATRIX].bfloat16().float().numpy(), abs=1e-6)


def test_what_is_equal_has_no_change(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    one, other = model(tmp_path / "base", tensors), model(tmp_path / "tuned", {**tensors, MATRIX: tensors[MATRIX] + 1})
    with WeightDifference(one, other, None) as difference:
        assert difference.change(EMBEDDING) is None
        assert difference.change(MATRIX) is not None


def test_rows_that_the_reference_lacks_are_left_out(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    longer = torch.cat([tensors[EMBEDDING] + 1, torch.ones(3, 4)])
    one, other = model(tmp_path / "base", tensors), model(tmp_path / "tuned", {**tensors, EMBEDDING: longer})
    with WeightDifference(one, other, None) as difference:
        change = difference.change(EMBEDDING)
    assert change is not None
    assert change.shape == (6, 4)
    assert change == pytest.approx(np.ones((6, 4)), abs=1e-6)


def test_a_target_that_ties_its_output_is_compared_by_its_embedding(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    tied = {name: tensor for name, tensor in tensors.items() if name != OUTPUT}
    with WeightDifference(model(tmp_path / "base", tensors), model(tmp_path / "tuned", tied), None) as difference:
        change = difference.change(OUTPUT)
    assert change == pytest.approx((tensors[EMBEDDING] - tensors[OUTPUT]).numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({MATRIX: torch.zeros(4, 4)}, "has the shape"),
        ({MATRIX: torch.full((6, 4), float("nan"))}, "not numbers"),
        ({MATRIX: torch.zeros(6, 4, dtype=torch.int8)}, "stored as I8"),
        ({MATRIX: None}, "has no tensor"),
    ],
    ids=["shape", "nan", "quantised", "missing"],
)
def test_what_cannot_be_compared_says_why(
    tmp_path: Path, tensors: dict[str, torch.Tensor], change: dict[str, torch.Tensor | None], message: str
) -> None:
    other = {name: tensor for name, tensor in {**tensors, **change}.items() if tensor is not None}
    one, target = model(tmp_path / "base", tensors), model(tmp_path / "tuned", other)
    with WeightDifference(one, target, None) as difference, pytest.raises(Unreadable, match=message):
        difference.change(MATRIX)


def test_an_adapter_is_its_product_and_changes_nothing_else(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    base = model(tmp_path / "base", tensors)
    module = MATRIX.removesuffix(".weight")
    a, b = torch.randn(2, 4), torch.randn(6, 2)
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 4}')
    named = {f"base_model.model.{module}.lora_{side}.weight": tensor for side, tensor in (("A", a), ("B", b))}
    save_file(named, folder / "adapter_model.safetensors")
    with WeightDifference(base, base, folder) as difference:
        assert difference.change(MATRIX) == pytest.approx((2 * b @ a).numpy(), abs=1e-5)
        assert difference.change(EMBEDDING) is None


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"head_dim": 64, "hidden_size": 576, "num_attention_heads": 9}, 64),
        ({"hidden_size": 576, "num_attention_heads": 9}, 64),
        ({"text_config": {"hidden_size": 64, "num_attention_heads": 4}, "hidden_size": 8}, 16),
        ({"hidden_size": 576, "num_attention_heads": 0}, None),
        ({"n_embd": 768}, None),
    ],
)
def test_the_width_of_an_attention_head(tmp_path: Path, config: dict[str, object], size: int | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert head_size(tmp_path) == size
