"""LoRA adapters: is this folder one that the engine can put on its base? Reads JSON and safetensors headers only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenforce.wire.problems import ErrorCode
from tokenforce_core.plan.plan import MAX_LORA_RANK
from tokenforce_service.models.adapter_targets import Targets, read_targets, unusable
from tokenforce_service.models.folder import (
    DTYPES,
    PICKLES,
    TOKENIZER_FILES,
    Upload,
    check_files,
    has_chat_template,
    read_json,
    refuse_code_and_detours,
)
from tokenforce_service.models.tensors import tensors
from tokenforce_service.refusals import Refusal

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
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
}
"""What the engine cannot put on a base: field of the config, what it means."""
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Ways to begin a training that leave the base as it is; PEFT changes the base's weights for the others (PiSSA)."""
EMBEDDINGS = ("embed_tokens", "wte", "wpe", "embed_in", "word_embeddings")
"""Matrices of the base that are looked up, not multiplied by: an adapter's matrices on them have other shapes."""
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True)
class Adapter:
    """A checked adapter folder; `base` is what it names as its base, None if nothing."""

    path: Path
    base: str | None
    targets: Targets
    dtype: str
    parameters: int
    has_tokenizer: bool
    has_chat_template: bool

    @property
    def rank(self) -> int:
        """The largest of its modules'."""
        return self.targets.largest_rank

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
            `weights_corrupt`, `model_invalid`, `remote_code`, `path_not_allowed`.
    """
    check_files(path, roots)
    config = read_json(path / CONFIG)
    if config.get("peft_type") != "LORA":
        raise unusable(f"it is of type {str(config.get('peft_type'))[:40]}, and only LORA is supported")
    refuse_code_and_detours(path, CONFIG, config)
    for field, meaning in UNSUPPORTED.items():
        if config.get(field):
            raise unusable(f"it uses {meaning}")
    if config.get("bias", "none") != "none":
        raise unusable("it uses bias terms")
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        raise unusable(f"it changes the base's own weights (`init_lora_weights` is {init[:40]!r})")
    targets = read_targets(config, MAX_LORA_RANK)
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
        targets=targets,
        dtype=DTYPES.get(stored, "float32"),
        parameters=sum(sizes.values()),
        has_tokenizer=any((path / name).is_file() for name in TOKENIZER_FILES),
        has_chat_template=has_chat_template(path),
    )


def check_fit(adapter: Adapter, base: Upload) -> None:
    """The adapter must hold pairs of matrices of modules that its config names, with the shapes of the base's.

    Raises:
        Refusal: `adapter_mismatch`.
    """
    matrices = {name.removesuffix(".weight"): tensor.shape for name, tensor in tensors(base.weights).items()}
    pairs = _pairs(adapter)
    for module, pair in pairs.items():
        shape = matrices.get(module, ())
        if len(shape) != 2 or module.rpartition(".")[2] in EMBEDDINGS:
            raise unusable(f"the base has no matrix {module[:100]}")
        rank = adapter.targets.rank_of(module)
        for side, wanted in (("A", (rank, shape[1])), ("B", (shape[0], rank))):
            if side not in pair:
                raise unusable(
                    f"its weights have one of the two matrices of {module[:100]}, and lora_{side} is missing"
                )
            if pair[side] != wanted:
                raise unusable(
                    f"{module[:100]} has the shape {list(shape)}, which lora_{side} with the shape {list(pair[side])} "
                    f"does not fit at the rank {rank} of its config"
                )
    if unnamed := adapter.targets.not_named(pairs):
        listed = ", ".join(name[:100] for name in unnamed[:3])
        raise unusable(f"it has weights for {len(unnamed)} modules that its config does not adapt, such as {listed}")


def _pairs(adapter: Adapter) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of the matrices: module of the base → `A` and `B` → (rows, columns)."""
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors(adapter.weights).items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise unusable(f"its tensor {name[:100]} is no LoRA matrix")
        pairs.setdefault(match["module"], {})[match["side"]] = tensor.shape
    return pairs


def check_vocabulary(own: Mapping[str, int], base: Mapping[str, int], rows: int) -> None:
    """Tokens may be added or renamed within the base's embedding; those of the base keep their ids.

    Args:
        own, base: token → id of the adapter's and of the base's tokenizer.
        rows: of the base's embedding matrix.

    Raises:
        Refusal: `adapter_mismatch`.
    """
    beyond = sorted((i, token) for token, i in own.items() if i >= rows)
    if beyond:
        i, token = beyond[0]
        raise unusable(
            f"its tokenizer has {len(beyond)} tokens beyond the {rows} rows of the base's embedding, such as "
            f"{token[:40]!r} with the id {i}"
        )
    moved = sorted((i, token) for token, i in own.items() if base.get(token, i) != i)
    if moved:
        i, token = moved[0]
        raise unusable(
            f"its tokenizer gives {len(moved)} tokens of the base other ids, such as {token[:40]!r} the id {i} instead "
            f"of {base[token]}"
        )


def finer(one: str, other: str) -> str:
    """The type that loses nothing of either."""
    return one if one == other else "float32"
