"""LoRA adapters: is this folder one that the engine can put on its base? Reads JSON and safetensors headers only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenforce.types import ErrorCode
from tokenforce_core.plan import MAX_LORA_RANK
from tokenforce_service.refusals import Refusal
from tokenforce_service.tensors import tensors
from tokenforce_service.uploads import DTYPES, PICKLES, TOKENIZER_FILES, Upload, check_files, read_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
UNSUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "bias terms",
    "modules_to_save": "whole modules beside the adapter (`modules_to_save`)",
    "layer_replication": "replicated layers",
    "alora_invocation_tokens": "activated LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
    "trainable_token_indices": "trained token embeddings",
    "target_parameters": "adapted parameters that are no modules",
    "rank_pattern": "ranks that differ by module",
}
"""What the engine cannot put on a base: field of the config, what it means."""
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True)
class Adapter:
    """A checked adapter folder; `base` is what it names as its base, None if nothing."""

    path: Path
    base: str | None
    rank: int
    dtype: str
    parameters: int
    has_tokenizer: bool
    has_chat_template: bool

    @property
    def weights(self) -> tuple[Path, ...]:
        return (self.path / WEIGHTS,)


def is_adapter(path: Path) -> bool:
    """A folder with an adapter and no model."""
    return (path / CONFIG).is_file() and not (path / "config.json").is_file()


def inspect_adapter(path: Path, roots: list[Path]) -> Adapter:
    """Check an adapter folder by itself.

    Raises:
        Refusal: `adapter_mismatch` (the engine cannot use it), `pickle_weights`, `weights_missing`,
            `weights_corrupt`, `model_invalid`, `path_not_allowed`.
    """
    check_files(path, roots)
    config = read_json(path / CONFIG)
    if config.get("peft_type") != "LORA":
        raise _unusable(f"it is of type {str(config.get('peft_type'))[:40]}, and only LORA is supported")
    for field, meaning in UNSUPPORTED.items():
        if config.get(field):
            raise _unusable(f"it uses {meaning}")
    if config.get("bias", "none") != "none":
        raise _unusable("it uses bias terms")
    rank = config.get("r")
    if type(rank) is not int or not 0 < rank <= MAX_LORA_RANK:
        raise _unusable(f"its rank is {str(rank)[:20]}; the engine takes 1 to {MAX_LORA_RANK}")
    if not (path / WEIGHTS).is_file():
        if any(next(path.glob(pattern), None) for pattern in PICKLES):
            raise Refusal(
                ErrorCode.pickle_weights,
                "The adapter's weights are pickles, which can run code when loaded; save them as safetensors.",
            )
        raise Refusal(ErrorCode.weights_missing, f"The adapter folder has no {WEIGHTS}; upload the weights.")
    found = tensors([path / WEIGHTS])
    sizes: dict[str, int] = {}
    for tensor in found.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.parameters
    stored = max(sizes, key=lambda dtype: sizes[dtype])
    base = config.get("base_model_name_or_path")
    return Adapter(
        path=path,
        base=base if isinstance(base, str) and base.strip() else None,
        rank=rank,
        dtype=DTYPES.get(stored, "float32"),
        parameters=sum(sizes.values()),
        has_tokenizer=any((path / name).is_file() for name in TOKENIZER_FILES),
        has_chat_template=(path / "chat_template.jinja").is_file() or _configured_template(path),
    )


def check_fit(adapter: Adapter, base: Upload) -> None:
    """Every pair of the adapter's matrices must belong to a matrix of the base, with its shape.

    Raises:
        Refusal: `adapter_mismatch`.
    """
    modules = {name.removesuffix(".weight"): tensor.shape for name, tensor in tensors(base.weights).items()}
    for name, tensor in tensors(adapter.weights).items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise _unusable(f"its tensor {name[:100]} is no LoRA matrix")
        shape = modules.get(match["module"])
        if shape is None or len(shape) != 2 or len(tensor.shape) != 2:
            raise _unusable(f"the base has no matrix {match['module'][:100]}")
        wanted = (adapter.rank, shape[1]) if match["side"] == "A" else (shape[0], adapter.rank)
        if tensor.shape != wanted:
            raise _unusable(
                f"{match['module'][:100]} has the shape {list(shape)}, which {list(tensor.shape)} does not fit"
            )


def finer(one: str, other: str) -> str:
    """The type that loses nothing of either."""
    return one if one == other else "float32"


def _configured_template(path: Path) -> bool:
    config: dict[str, Any] = (
        read_json(path / "tokenizer_config.json") if (path / "tokenizer_config.json").is_file() else {}
    )
    return bool(config.get("chat_template"))


def _unusable(why: str) -> Refusal:
    return Refusal(
        ErrorCode.adapter_mismatch,
        f"This LoRA adapter cannot be put on its base: {why}. Merge it and upload the whole.",
    )
