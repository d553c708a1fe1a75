"""A vLLM model loader that merges a LoRA adapter into its base while the base's files are read.

Nothing is written to disk, and memory holds one merged matrix beside the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from vllm.config import ModelConfig
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.model_executor.models.interfaces import supports_lora

from tokenforce_workers.engine.lora_merge import LoraWeights

LOAD_FORMAT = "safetensors+lora"


def merging(adapter: str) -> dict[str, Any]:
    """Engine arguments that load the base with the adapter in the folder `adapter` merged into it."""
    return {
        "load_format": LOAD_FORMAT,
        "model_loader_extra_config": {"adapter": adapter},
        "worker_extension_cls": f"{__name__}.{RegistersLoader.__name__}",
    }


class RegistersLoader:
    """Adds nothing to vLLM's workers; importing it registers the loader in their processes."""


@register_model_loader(LOAD_FORMAT)
class MergingLoader(DefaultModelLoader):  # type: ignore[misc] # vllm is not followed
    """vLLM's own loader of safetensors, which merges what it reads."""

    def __init__(self, load_config: LoadConfig) -> None:
        self._folder = Path(load_config.model_loader_extra_config["adapter"])
        super().__init__(replace(load_config, load_format="safetensors", model_loader_extra_config={}))

    def load_weights(self, model: torch.nn.Module, model_config: ModelConfig) -> None:
        """Raises ValueError if the adapter does not fit: no part of it is ever left out silently."""
        if not supports_lora(model):
            # Others may store their matrices transposed.
            raise ValueError(f"the engine does not support LoRA for {type(model).__name__}")
        with LoraWeights(self._folder) as self._lora:
            super().load_weights(model, model_config)
            if self._lora.unmerged:
                listed = ", ".join(sorted(self._lora.unmerged)[:3])
                raise ValueError(f"the base has no matrices for {len(self._lora.unmerged)} adapted modules: {listed}")

    def get_all_weights(self, model_config: ModelConfig, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        return self._lora.added_to(super().get_all_weights(model_config, model))
