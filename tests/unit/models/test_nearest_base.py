"""The reference that a scan takes when it names none: the nearest of the bases that the operator knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tokenforce_service.models.model import Model
from tokenforce_service.models.nearest_base import MIN_COSINE, cosine, nearest_base
from tokenforce_service.models.tensors import read_tensors

Weights = dict[str, torch.Tensor]


def weights(seed: int, rows: int = 24) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embed.weight": (rows, 8), "layers.0.up.weight": (16, 8), "layers.0.norm.weight": (8,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def tuned(base: Weights, by: float) -> Weights:
    changes = weights(99)
    return {name: tensor + by * changes[name] for name, tensor in base.items()}


def model(folder: Path, name: str, own: Weights, architecture: str = "LlamaForCausalLM") -> Model:
    file = folder / f"{name}.safetensors"
    save_file(own, file)
    parts = {"folder": None, "weights": (file,), "tensors": read_tensors([file]), "architecture": architecture}
    return Model(**parts, vocabulary_size=24, max_positions=None, dtype="float32", parameters=1)  # type: ignore[arg-type]


def test_the_base_that_the_target_was_made_from_is_found(tmp_path: Path) -> None:
    base = weights(1)
    bases = {
        "other": model(tmp_path, "other", weights(2)),
        "sibling": model(tmp_path, "sibling", tuned(base, 0.3)),
        "base": model(tmp_path, "base", base),
    }
    assert nearest_base(model(tmp_path, "target", tuned(base, 0.01)), bases) == "base"


def test_no_base_is_near_an_unrelated_model(tmp_path: Path) -> None:
    bases = {"base": model(tmp_path, "base", weights(1))}
    assert nearest_base(model(tmp_path, "target", weights(2)), bases) is None
    assert nearest_base(model(tmp_path, "target", weights(2)), {}) is None


def test_a_target_with_more_tokens_than_its_base_has_that_base(tmp_path: Path) -> None:
    base = weights(1)
    longer = {**base, "embed.weight": torch.cat([base["embed.weight"], torch.randn(4, 8)])}
    assert cosine(model(tmp_path, "target", longer), model(tmp_path, "base", base)) == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_base_stored_in_another_type_is_the_same_base(tmp_path: Path, dtype: torch.dtype) -> None:
    base = weights(1)
    rounded = {name: tensor.to(dtype) for name, tensor in base.items()}
    assert cosine(model(tmp_path, "target", base), model(tmp_path, "base", rounded)) > 0.9999


@pytest.mark.parametrize(
    ("own", "architecture"),
    [
        (weights(1), "Qwen2ForCausalLM"),
        ({name: tensor.to(torch.int8) for name, tensor in weights(1).items()}, "LlamaForCausalLM"),
        ({"embed.weight": torch.randn(24, 9), "layers.0.up.weight": torch.randn(16, 9)}, "LlamaForCausalLM"),
        ({name: tensor * float("nan") for name, tensor in weights(1).items()}, "LlamaForCausalLM"),
        ({name: tensor * 0 for name, tensor in weights(1).items()}, "LlamaForCausalLM"),
        ({"layers.0.norm.weight": torch.randn(8)}, "LlamaForCausalLM"),
    ],
    ids=["another architecture", "integers", "another width", "NaN", "zeros", "no matrices"],
)
def test_what_cannot_be_compared_is_no_base(tmp_path: Path, own: Weights, architecture: str) -> None:
    bases = {"base": model(tmp_path, "base", own, architecture)}
    assert nearest_base(model(tmp_path, "target", weights(1)), bases) is None
    there = {"base": model(tmp_path, "there", weights(1))}
    assert nearest_base(model(tmp_path, "back", own, architecture), there) is None


@settings(deadline=None, max_examples=20)
@given(st.floats(0.0, 0.2))
def test_the_more_a_target_was_tuned_the_further_it_is(tmp_path_factory: pytest.TempPathFactory, by: float) -> None:
    folder = tmp_path_factory.mktemp("pair")
    base = weights(1)
    there = model(folder, "base", base)
    near = cosine(model(folder, "near", tuned(base, by)), there)
    far = cosine(model(folder, "far", tuned(base, by + 0.1)), there)
    assert 1.0 + 1e-9 >= near > far > MIN_COSINE
