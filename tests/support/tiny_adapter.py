"""A LoRA adapter of zeros on a tiny model, as PEFT would save it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from tokenforce_service.models.adapter import WEIGHTS
from tokenforce_service.models.folder import ADAPTER_CONFIG

RANK = 4
WIDTH = 64
"""Rows and columns of the tiny model's matrix of queries."""
QUERY = "model.layers.0.self_attn.q_proj"


def write_adapter(folder: Path, base: Path | str, **changes: object) -> None:
    """An adapter of `RANK` on `QUERY`; `changes` are fields of its config, and None removes one."""
    folder.mkdir(exist_ok=True)
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": str(base),
        **changes,
    }
    (folder / ADAPTER_CONFIG).write_text(
        json.dumps({field: value for field, value in config.items() if value is not None})
    )
    write_weights(folder, {QUERY: (RANK, RANK)})


def write_weights(folder: Path, ranks: Mapping[str, tuple[int | None, int | None]]) -> None:
    """Pairs of zeros for square modules: module → rank of A and of B; None leaves that matrix out."""
    matrices = {}
    for module, (of_a, of_b) in ranks.items():
        if of_a is not None:
            matrices[f"base_model.model.{module}.lora_A.weight"] = torch.zeros(of_a, WIDTH)
        if of_b is not None:
            matrices[f"base_model.model.{module}.lora_B.weight"] = torch.zeros(WIDTH, of_b)
    save_file(matrices, folder / WEIGHTS)
