"""A whole model: is this folder one that may be scanned? Reads JSON and safetensors headers, never code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.folder import WEIGHT_INDEX, Folder, read_json
from tokenforce_service.models.tensors import COMPUTED_AS, Tensor, mostly_stored_as, no_weights, read_tensors
from tokenforce_service.refusals import Refusal

DTYPES = ("float32", "bfloat16", "float16")
"""Types to compute in."""
LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len", "max_sequence_length")
"""Fields of config.json that name the longest sequence."""
LARGEST_VOCABULARY = 10_000_000


@dataclass(frozen=True)
class Model:
    """A model folder that has passed the checks.

    `dtype` is the type to compute in: the one in which most weights are stored or, for quantised weights, the one that
    the config names. `max_positions` is the longest sequence in tokens (None: the config does not say),
    `vocabulary_size` the number of rows of the embedding matrix.
    """

    folder: Folder
    weights: tuple[Path, ...]
    tensors: Mapping[str, Tensor] = field(repr=False)
    architecture: str
    vocabulary_size: int
    max_positions: int | None
    dtype: str
    parameters: int

    @property
    def path(self) -> Path:
        return self.folder.path


def inspect_model(folder: Folder, max_bytes: float) -> Model:
    """Check a model folder.

    Raises:
        Refusal: with the code of the first thing that is wrong.
    """
    folder.refuse_code_and_detours()
    config = folder.config
    weights = _weights(folder)
    size = sum(file.stat().st_size for file in weights)
    if size > max_bytes:
        raise Refusal(
            ErrorCode.model_too_large,
            f"The weights are {size / 2**30:.1f} GiB; this service takes up to {max_bytes / 2**30:.1f} GiB.",
        )
    tensors = read_tensors(weights)
    stored, parameters = mostly_stored_as(tensors)
    if not folder.has_tokenizer:
        raise Refusal(
            ErrorCode.tokenizer_missing,
            "The folder has no tokenizer (tokenizer.json or tokenizer.model); save it beside the weights.",
        )
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise Refusal(
            ErrorCode.unsupported_architecture, "config.json names no architecture; add `architectures` to it."
        )
    text_config = config.get("text_config")  # models of several modalities keep the language model's here
    inner: Mapping[str, Any] = text_config if isinstance(text_config, dict) else config
    vocabulary_size = inner.get("vocab_size", config.get("vocab_size"))
    if not isinstance(vocabulary_size, int) or not 0 < vocabulary_size < LARGEST_VOCABULARY:
        raise Refusal(ErrorCode.model_invalid, "config.json has no usable vocab_size; upload it again.")
    return Model(
        folder=folder,
        weights=weights,
        tensors=tensors,
        architecture=architectures[0],
        vocabulary_size=vocabulary_size,
        max_positions=_max_positions(inner) or _max_positions(config),
        dtype=COMPUTED_AS.get(stored) or _configured_dtype(inner) or _configured_dtype(config) or "bfloat16",
        parameters=parameters,
    )


def _weights(folder: Folder) -> tuple[Path, ...]:
    if WEIGHT_INDEX in folder.files:
        named = read_json(folder.path / WEIGHT_INDEX).get("weight_map")
        names = sorted({str(name) for name in named.values()}) if isinstance(named, dict) else []
        if not names:
            raise Refusal(ErrorCode.weights_missing, f"{WEIGHT_INDEX} names no files; upload it again.")
        if missing := [name for name in names if name not in folder.files]:
            listed = ", ".join(missing[:3])
            raise Refusal(
                ErrorCode.weights_missing, f"{WEIGHT_INDEX} names files that are not there: {listed}; upload them."
            )
    else:
        names = sorted(name for name in folder.names if name.endswith(".safetensors"))
    if not names:
        raise no_weights("The folder", folder.names)
    return tuple(folder.path / name for name in names)


def _max_positions(config: Mapping[str, Any]) -> int | None:
    """The smallest length that the config names, as the engine reads it."""
    values = [config.get(name) for name in LENGTHS]
    return min((value for value in values if type(value) is int and value > 0), default=None)


def _configured_dtype(config: Mapping[str, Any]) -> str | None:
    """The type to compute in; older configs call it `torch_dtype`."""
    return next((config[name] for name in ("dtype", "torch_dtype") if config.get(name) in DTYPES), None)
