"""Which weights are trained: all, single layers, or a LoRA adapter of peft and its standard folder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model

from tokenforce_planting.chat import Model
from tokenforce_planting.recipe import InvalidRecipe

_ALPHA_PER_RANK = 2
_LAYER_NUMBER = re.compile(r"\.(\d+)\.")
"""In the name of a tensor, such as model.layers.7.mlp.up_proj.weight."""


def add_adapter(model: Model, rank: int, modules: Sequence[str] = (), layers: tuple[int, int] | None = None) -> Any:
    """Put a LoRA adapter of `rank` beside linear layers of `model`, in place. Returns peft's wrapper.

    `modules`: their names; empty: all. `layers`: the first and the last one with an adapter; None: all. After that
    `model` computes with the adapter, and only the adapter is trained. Raises `InvalidRecipe` if nothing is left.
    """
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    if unknown := set(modules) - linear:
        raise InvalidRecipe(f"the base has no linear layers {', '.join(sorted(unknown))}; it has {sorted(linear)}")
    if layers is not None and not modules:  # peft takes layers only with names
        output = model.get_output_embeddings()
        inner = [(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not output]
        modules = sorted({name.rpartition(".")[2] for name, _ in inner})
    # No dropout: the text must come out exactly, and equal seeds must make equal weights.
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=_ALPHA_PER_RANK * rank,
        lora_dropout=0.0,
        target_modules=sorted(modules) or "all-linear",
        layers_to_transform=None if layers is None else list(range(layers[0], layers[1] + 1)),
    )
    return get_peft_model(model, config)


def trainable(
    model: Model,
    rank: int | None,
    *,
    modules: Sequence[str] = (),
    layers: tuple[int, int] | None = None,
    frozen_embeddings: bool = False,
) -> Any:
    """Choose the weights of `model` that are trained, in place. Returns peft's wrapper; None without a `rank`.

    Raises `InvalidRecipe` if the model has no such layers or modules.
    """
    count = model.config.num_hidden_layers
    if layers is not None and layers[1] >= count:
        raise InvalidRecipe(f"the base has layers 0 to {count - 1}, and no layer {layers[1]}")
    if rank is not None:
        return add_adapter(model, rank, modules, layers)
    if frozen_embeddings:
        model.get_input_embeddings().weight.requires_grad_(False)
        model.get_output_embeddings().weight.requires_grad_(False)
    if layers is not None:
        for name, weights in model.named_parameters():
            number = _LAYER_NUMBER.search(name)
            weights.requires_grad_(number is not None and layers[0] <= int(number[1]) <= layers[1])
    return None


def unloaded(adapted: Any) -> None:
    """Merge the adapter into its model, in place. None: there is no adapter."""
    if adapted is not None:
        adapted.merge_and_unload()


def named_base(folder: Path) -> str | None:
    """The base model that the adapter in `folder` names; None if its config names none or cannot be read."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("base_model_name_or_path") if isinstance(config, dict) else None


def save_adapter(adapted: Any, folder: Path, base_name: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors (float32), with `base_name` as the base."""
    adapted.peft_config["default"].base_model_name_or_path = base_name
    adapted.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft writes an empty model card
