"""Is this folder a model that may be scanned? Reads JSON and safetensors headers, never code.

Uploads are hostile: nothing here imports torch or transformers, follows a link out of the configured
roots, or unpickles. Every refusal says what is wrong and what to do.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.tensors import tensors
from tokenforce_service.models.tokenizer_files import TOKENIZER_CONFIGS, refuse_named_files
from tokenforce_service.refusals import Refusal

MAX_JSON_BYTES = {"config.json": 4 << 20, "adapter_config.json": 4 << 20, "model.safetensors.index.json": 32 << 20}
OTHER_JSON_BYTES = 16 << 20
"""A JSON file may take twenty times its size in memory. There is room for the index of some 200,000 tensors and for a
tokenizer_config.json of tens of thousands of added tokens."""
MAX_TOKENIZER_CONFIG_BYTES = 32 << 20
"""Of all files of these names in the folder and below it: every one is read, a linked one each time."""
MAX_TOKENIZER_BYTES = 128 << 20
"""Of a file that the tokenizer is made from; that of a vocabulary of 262k has some 33 MiB."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
DTYPES = {"F64": "float32", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
COMPUTED = ("float32", "bfloat16", "float16")
LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len", "max_sequence_length")
ELSEWHERE = (
    ("config.json", "speculators_config", "another model, which would be loaded in its place; scan that one itself."),
    ("config.json", "configuration_files", "files to be read in its place; leave one config.json without that entry."),
    (
        "tokenizer_config.json",
        "fast_tokenizer_files",
        "files to be read instead of tokenizer.json; leave one tokenizer.json without that entry.",
    ),
)
"""What a folder may name so that something else is loaded than what was checked: file, field, what it names."""


@dataclass(frozen=True)
class Upload:
    """A model folder that has passed the checks.

    `dtype` is the type to compute in: what most weights are stored in, or for quantised weights what
    the config says. `max_positions` is the longest sequence in
    tokens (None: the config does not say), `vocabulary_size` the rows of the embedding matrix.
    """

    path: Path
    weights: tuple[Path, ...]
    architecture: str
    vocabulary_size: int
    max_positions: int | None
    dtype: str
    parameters: int
    has_chat_template: bool


def resolve(model: str, roots: list[Path]) -> Path:
    """The real path of a model folder, if it lies under a root.

    Raises:
        Refusal: `path_not_allowed` (asked first, so that nobody learns what exists outside the
            roots), `model_not_found`.
    """
    if "\0" in model:
        raise Refusal(ErrorCode.model_not_found, f"The path {model} has a NUL character; give the path of a folder.")
    path = _real(Path(model))
    if not _inside(path, roots):
        raise Refusal(
            ErrorCode.path_not_allowed,
            f"The path {model} is outside the folders that this service may read; move the model there, "
            "or start the service with --root or TOKENFORCE_MODEL_ROOTS naming its folder.",
        )
    if not os.path.isdir(path):  # unlike Path.is_dir, also False for names that are too long
        raise Refusal(ErrorCode.model_not_found, f"There is no folder {model}; give a model folder or org/name.")
    return path


def inspect(path: Path, roots: list[Path], max_bytes: float) -> Upload:
    """Check a model folder.

    Raises:
        Refusal: with the code of the first thing that is wrong.
    """
    check_files(path, roots)
    config = _config(path)
    refuse_code_and_detours(path, "config.json", config)
    weights = _weights(path)
    size = sum(file.stat().st_size for file in weights)
    if size > max_bytes:
        raise Refusal(
            ErrorCode.model_too_large,
            f"The weights are {size / 2**30:.1f} GiB; this service takes up to {max_bytes / 2**30:.1f} GiB.",
        )
    stored, parameters = _stored(weights)
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
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
    inner: dict[str, Any] = text_config if isinstance(text_config, dict) else config
    vocabulary_size = inner.get("vocab_size", config.get("vocab_size"))
    if not isinstance(vocabulary_size, int) or not 0 < vocabulary_size < 10_000_000:
        raise Refusal(ErrorCode.model_invalid, "config.json has no usable vocab_size; upload it again.")
    return Upload(
        path=path,
        weights=tuple(weights),
        architecture=architectures[0],
        vocabulary_size=vocabulary_size,
        max_positions=_max_positions(inner) or _max_positions(config),
        dtype=DTYPES.get(stored) or _configured_dtype(inner) or _configured_dtype(config) or "bfloat16",
        parameters=parameters,
        has_chat_template=has_chat_template(path),
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from an uploaded file.

    Raises:
        Refusal: `model_invalid` if it is not one, or is larger than a file of its name may be.
    """
    _refuse_larger(path, MAX_JSON_BYTES.get(path.name, OTHER_JSON_BYTES))
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise Refusal(ErrorCode.model_invalid, f"{path.name} cannot be read; check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(ErrorCode.model_invalid, f"{path.name} is not valid JSON; upload it again.") from error
    if not isinstance(value, dict):
        raise Refusal(ErrorCode.model_invalid, f"{path.name} is not a JSON object; upload it again.")
    return value


def _refuse_larger(path: Path, limit: int) -> None:
    if path.stat().st_size > limit:
        raise Refusal(ErrorCode.model_invalid, f"{path.name} is larger than {limit >> 20} MiB; upload a smaller one.")


def _config(path: Path) -> dict[str, Any]:
    adapter = (path / "adapter_config.json").is_file()
    if (path / "config.json").is_file():
        if adapter:
            raise Refusal(
                ErrorCode.model_invalid,
                "The folder has an adapter_config.json beside config.json, and some programs would put that adapter on "
                "the model; give each a folder of its own.",
            )
        return read_json(path / "config.json")
    if adapter:
        raise Refusal(
            ErrorCode.config_missing, "This is a LoRA adapter, where a whole model is needed; name its base instead."
        )
    raise Refusal(ErrorCode.config_missing, "The folder has no config.json; upload the whole model folder.")


def _max_positions(config: dict[str, Any]) -> int | None:
    """The smallest that it says, as the engine reads it."""
    values = [config.get(name) for name in LENGTHS]
    return min((value for value in values if type(value) is int and value > 0), default=None)


def _configured_dtype(config: dict[str, Any]) -> str | None:
    """The type to compute in; `torch_dtype` is its name in older configs."""
    return next((config[name] for name in ("dtype", "torch_dtype") if config.get(name) in COMPUTED), None)


def refuse_code_and_detours(path: Path, config_name: str, config: dict[str, Any]) -> None:
    """Neither the config (of a model or an adapter) nor the tokenizer's may name code, or files in place of others.

    Raises:
        Refusal: `remote_code`, `model_invalid`.
    """
    tokenizer_config = path / "tokenizer_config.json"
    named = [(config_name, config)]
    if tokenizer_config.is_file():
        named.append((tokenizer_config.name, read_json(tokenizer_config)))
    for name, content in named:
        if content.get("auto_map"):
            raise Refusal(
                ErrorCode.remote_code,
                f"{name} asks for code of its own (`auto_map`); tokenforce never runs uploaded code. "
                "Save the model in a standard architecture.",
            )
        for file, field, what in ELSEWHERE:
            if file == name and content.get(field) is not None:
                raise Refusal(ErrorCode.model_invalid, f"{name} names (`{field}`) {what}")


def _weights(path: Path) -> list[Path]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        names = read_json(index).get("weight_map")
        shards = sorted({str(name) for name in names.values()}) if isinstance(names, dict) else []
        missing = [name for name in shards if Path(name).name != name or not os.path.isfile(path / name)]
        if not shards:
            raise Refusal(ErrorCode.weights_missing, f"{index.name} names no files; upload it again.")
        if missing:
            listed = ", ".join(missing[:3])
            raise Refusal(
                ErrorCode.weights_missing, f"{index.name} names files that are not there: {listed}; upload them."
            )
        files = [path / name for name in shards]
    else:
        files = sorted(path.glob("*.safetensors"))
    if not files:
        if any(next(path.glob(pattern), None) for pattern in PICKLES):
            raise Refusal(
                ErrorCode.pickle_weights,
                "The weights are pickles, which can run code when loaded; save them as safetensors.",
            )
        raise Refusal(ErrorCode.weights_missing, "The folder has no *.safetensors; upload the weights.")
    return files


def _stored(weights: list[Path]) -> tuple[str, int]:
    """The stored type of most parameters and their number."""
    counts: dict[str, int] = {}
    for tensor in tensors(weights).values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.parameters
    most = max(counts, key=lambda dtype: counts[dtype])
    return most, sum(counts.values())


def has_chat_template(path: Path) -> bool:
    """Whether a checked folder brings one.

    Raises:
        Refusal: `model_invalid`, if tokenizer_config.json cannot be read.
    """
    if (path / "chat_template.jinja").is_file() or (path / "chat_template.json").is_file():
        return True
    tokenizer_config = path / "tokenizer_config.json"
    return tokenizer_config.is_file() and bool(read_json(tokenizer_config).get("chat_template"))


def check_files(path: Path, roots: list[Path]) -> None:
    """Everything in the folder and below it: a linked chat template would end up in the report.

    Raises:
        Refusal: `path_not_allowed`, `model_invalid`.
    """
    pending, seen, left = [path], {path}, MAX_TOKENIZER_CONFIG_BYTES
    while pending:
        try:
            entries = list(pending.pop().iterdir())
        except OSError as error:
            raise Refusal(
                ErrorCode.model_invalid, f"The folder cannot be read ({error.strerror}); check its permissions."
            ) from error
        for entry in entries:
            real = _real(entry)
            if not _inside(real, roots):
                raise Refusal(
                    ErrorCode.path_not_allowed,
                    f"{entry.name} is a link that leads out of the folders that this service may read; "
                    "put the file itself there.",
                )
            if os.path.isdir(real):
                pending += [real] if real not in seen else []
                seen.add(real)
            elif not os.path.isfile(real):  # opening a pipe would wait for ever
                raise Refusal(ErrorCode.model_invalid, f"{entry.name} is not a regular file; remove it.")
            elif entry.name in TOKENIZER_CONFIGS:
                left -= entry.stat().st_size
                if left < 0:
                    raise Refusal(
                        ErrorCode.model_invalid,
                        f"The tokenizer configs take more than {MAX_TOKENIZER_CONFIG_BYTES >> 20} MiB; remove copies.",
                    )
                refuse_named_files(entry.name, read_json(entry))
            elif entry.name in TOKENIZER_FILES:
                _refuse_larger(entry, MAX_TOKENIZER_BYTES)


def _inside(real: Path, roots: list[Path]) -> bool:
    return any(real.is_relative_to(_real(root)) for root in roots)


def _real(path: Path) -> Path:
    """Without links; unlike `Path.resolve` no error for links in a circle."""
    return Path(os.path.realpath(path))
