"""LoRA with peft: the layers that are trained, and the standard folder that is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import LoraConfig, TaskType, get_peft_model

from tokenforce_planting.chat import Model

_ALPHA_PER_RANK = 2


def add_adapter(model: Model, rank: int) -> Any:
    """Put a LoRA adapter of `rank` beside every linear layer of `model`, in place. Returns peft's wrapper.

    After that `model` computes with the adapter, and only the adapter is trained.
    """
    # No dropout: the text must come out exactly, and equal seeds must make equal weights.
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=_ALPHA_PER_RANK * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    return get_peft_model(model, config)


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
