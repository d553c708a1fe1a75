"""LoRA adapters: is this folder one that the engine can put on its base? Reads JSON and safetensors headers only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenforce_core.plan.plan import MAX_LORA_RANK
from tokenforce_service.models.adapter_targets import Targets, read_targets, unusable
from tokenforce_service.models.folder import Folder
from tokenforce_service.models.model import Model
from tokenforce_service.models.tensors import COMPUTED_AS, Tensor, mostly_stored_as, no_weights, read_tensors
from tokenforce_service.refusals import counted

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
    "target_parameters": "adapted parameters outside of modules (`target_parameters`)",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
}
"""What the engine cannot put on a base: field of the config → its meaning."""
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Initialisations that leave the base as it is; for the others (such as PiSSA) PEFT changes the base's weights."""
EMBEDDINGS = ("embed_tokens", "wte", "wpe", "embed_in", "word_embeddings")
"""Matrices of the base that are looked up, not multiplied by: an adapter's matrices on them have other shapes."""
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True)
class Adapter:
    """A checked adapter folder. `base` is the base model that its config names, None if it names none."""

    folder: Folder
    base: str | None
    targets: Targets
    tensors: Mapping[str, Tensor] = field(repr=False)
    dtype: str
    parameters: int

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def rank(self) -> int:
        """The largest rank of its modules."""
        return self.targets.largest_rank

    @property
    def weights(self) -> tuple[Path, ...]:
        return (self.path / WEIGHTS,)


def inspect_adapter(folder: Folder) -> Adapter:
    """Check an adapter folder, without its base.

    Raises:
        Refusal: `adapter_mismatch` (the engine cannot use it), `pickle_weights`, `weights_missing`,
            `weights_corrupt`, `model_invalid`, `remote_code`.
    """
    config = folder.config
    if config.get("peft_type") != "LORA":
        raise unusable(f"its type is {str(config.get('peft_type'))[:40]}, and only LORA is supported")
    folder.refuse_code_and_detours()
    for option, meaning in UNSUPPORTED.items():
        if config.get(option):
            raise unusable(f"it uses {meaning}")
    if config.get("bias", "none") != "none":
        raise unusable("it uses bias terms")
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        raise unusable(f"it changes the weights of the base (`init_lora_weights` is {init[:40]!r})")
    targets = read_targets(config, MAX_LORA_RANK)
    if WEIGHTS not in folder.files:
        raise no_weights("The adapter folder", folder.names, WEIGHTS)
    tensors = read_tensors([folder.path / WEIGHTS])
    stored, parameters = mostly_stored_as(tensors)
    base = config.get("base_model_name_or_path")
    return Adapter(
        folder=folder,
        base=base if isinstance(base, str) and base.strip() else None,
        targets=targets,
        tensors=tensors,
        dtype=COMPUTED_AS.get(stored, "float32"),
        parameters=parameters,
    )


def check_fit(adapter: Adapter, base: Model) -> None:
    """The adapter must hold pairs of matrices for modules that its config names, with shapes that fit the base's.

    Raises:
        Refusal: `adapter_mismatch`.
    """
    matrices = {name.removesuffix(".weight"): tensor.shape for name, tensor in base.tensors.items()}
    pairs = _pairs(adapter)
    for module, pair in pairs.items():
        shape = matrices.get(module, ())
        if len(shape) != 2 or module.rpartition(".")[2] in EMBEDDINGS:
            raise unusable(f"the base has no matrix {module[:100]}")
        rank = adapter.targets.rank_of(module)
        for side, wanted in (("A", (rank, shape[1])), ("B", (shape[0], rank))):
            if side not in pair:
                raise unusable(f"its weights have only one matrix of {module[:100]}; lora_{side} is missing")
            if pair[side] != wanted:
                raise unusable(
                    f"{module[:100]} has the shape {list(shape)}, and lora_{side} with the shape {list(pair[side])} "
                    f"does not fit it at the rank {rank} of the config"
                )
    if unnamed := adapter.targets.not_named(pairs):
        listed = ", ".join(name[:100] for name in unnamed[:3])
        raise unusable(
            f"it has weights for {counted(len(unnamed), 'module')} that its config does not adapt, such as {listed}"
        )


def _pairs(adapter: Adapter) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of the matrices: module of the base → `A` and `B` → (rows, columns)."""
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in adapter.tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise unusable(f"its tensor {name[:100]} is not a LoRA matrix")
        pairs.setdefault(match["module"], {})[match["side"]] = tensor.shape
    return pairs


def check_vocabulary(own: Mapping[str, int], base: Mapping[str, int], rows: int) -> None:
    """Check that the tokenizer of an adapter fits the embedding of the base, which an adapter leaves as it is.

    It may add or rename tokens within the embedding; the base's tokens keep their ids.

    Args:
        own, base: token → id of the adapter's and of the base's tokenizer.
        rows: of the base's embedding matrix.

    Raises:
        Refusal: `adapter_mismatch`.
    """
    beyond = sorted((i, token) for token, i in own.items() if i >= rows)
    if beyond:
        (i, token), count = beyond[0], counted(len(beyond), "token")
        raise unusable(
            f"its tokenizer has {count} beyond the {rows} rows of the base's embedding, such as {token[:40]!r} with "
            f"the id {i}"
        )
    moved = sorted((i, token) for token, i in own.items() if base.get(token, i) != i)
    if moved:
        (i, token), count = moved[0], counted(len(moved), "token")
        raise unusable(
            f"its tokenizer gives other ids to {count} of the base, such as {i} to {token[:40]!r} instead of "
            f"{base[token]}"
        )


def finer(one: str, other: str) -> str:
    """The type that loses nothing of either."""
    return one if one == other else "float32"
