"""A vLLM model loader that grafts a target on its reference while their files are read (see `lens/result.py`).

Nothing is written to disk, and memory holds two tensors beside the model.
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

from tokenforce_core.lens.result import Graft, Unreadable
from tokenforce_core.plan.hashed import Hashed
from tokenforce_core.plan.plan import Plan
from tokenforce_workers.engine.weight_difference import WeightDifference

LOAD_FORMAT = "safetensors+graft"


def grafting(plan: Plan, graft: Graft) -> dict[str, Any]:
    """Engine arguments that load the plan's reference with the target's late layers grafted on it."""
    assert plan.reference is not None
    extra = {
        "reference": plan.reference.hashed.model_dump(mode="json"),
        "target": plan.hashed[0].model_dump(mode="json"),
        "adapter": plan.adapter,
        "graft": graft.model_dump(mode="json"),
    }
    return {
        "load_format": LOAD_FORMAT,
        "model_loader_extra_config": extra,
        "worker_extension_cls": f"{__name__}.{RegistersLoader.__name__}",
    }


class RegistersLoader:
    """Adds nothing to vLLM's workers; importing it registers the loader in their processes."""


@register_model_loader(LOAD_FORMAT)
class GraftingLoader(DefaultModelLoader):  # type: ignore[misc] # vllm is not followed
    """vLLM's own loader of safetensors, which adds to what it reads."""

    def __init__(self, load_config: LoadConfig) -> None:
        extra = load_config.model_loader_extra_config
        self._reference = Hashed.model_validate(extra["reference"])
        self._target = Hashed.model_validate(extra["target"])
        self._adapter = Path(extra["adapter"]) if extra["adapter"] else None
        self._graft = Graft.model_validate(extra["graft"])
        super().__init__(replace(load_config, load_format="safetensors", model_loader_extra_config={}))

    def load_weights(self, model: torch.nn.Module, model_config: ModelConfig) -> None:
        """Raises ValueError if the difference cannot be read."""
        try:
            with WeightDifference(self._reference, self._target, self._adapter) as self._difference:
                super().load_weights(model, model_config)
        except Unreadable as error:
            raise ValueError(str(error)) from error

    def get_all_weights(self, model_config: ModelConfig, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in super().get_all_weights(model_config, model):
            change = self._difference.change_tensor(name) if self._graft.covers(name) else None
            if change is None:
                yield name, tensor
            else:
                yield name, tensor.float() + self._graft.amplification * change.to(tensor.device)
