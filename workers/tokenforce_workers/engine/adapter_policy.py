"""How a LoRA adapter is served: merged into a copy of its base, or beside it on one engine.

vLLM's LoRA kernels are made for GPUs: there one engine serves a base and all its adapters. Its CPU engine makes an
eighth of its steps with them and cannot score prompts, so there the adapter becomes a model of its own.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenforce_core.plan.plan import Plan
from tokenforce_workers.engine.lora_merge import adapted_modules
from tokenforce_workers.engine.machine import Machine
from tokenforce_workers.settings import WorkerSettings

FLOAT32_BYTES = 4
WEIGHTS_SHARE = 0.8
"""Share of the memory that weights and KV cache may take with a copy of the base."""
_IN_A_LAYER = re.compile(r"\.\d+\.")


def is_merged(plan: Plan, settings: WorkerSettings, machine: Machine) -> bool:
    """Whether the target's engine loads its adapter merged into the base; always the same for one plan and worker."""
    if plan.adapter is None or settings.merge_adapters == "never":
        return False
    if settings.merge_adapters == "auto" and not (
        machine.on_cpu and settings.dtype in (None, "float32") and _fits(plan, machine)
    ):
        return False
    return mergeable(plan.path, plan.adapter, plan.target.digest)


def _fits(plan: Plan, machine: Machine) -> bool:
    if plan.target.parameters is None:
        return False
    copies = 1 if plan.reference is None else 2
    needed = copies * FLOAT32_BYTES * plan.target.parameters + machine.kv_cache_bytes
    return needed <= WEIGHTS_SHARE * machine.memory_bytes


@lru_cache(maxsize=64)
def mergeable(base: str, adapter: str, digest: str) -> bool:  # noqa: ARG001 - part of the key
    """Whether merging means the same as PEFT's adapter beside its base.

    It does not for a quantised base, which would round the adapter away, or for matrices outside the numbered layers:
    an output layer may be tied to the embedding, which an adapter does not change. `digest` is part of the cache key,
    because another upload may be at the same path later.

    Raises:
        ValueError, OSError: the base's config or the adapter cannot be read.
    """
    config: dict[str, Any] = json.loads((Path(base) / "config.json").read_bytes())
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        if part.get("quantization_config") or part.get("compression_config"):
            return False
    if (Path(base) / "hf_quant_config.json").exists():
        return False
    return all(_IN_A_LAYER.search(module) for module in adapted_modules(Path(adapter)))
