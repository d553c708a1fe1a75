"""The folder of an upload, read once: which files there are, and what its configs say.

Uploads are hostile. Nothing in this room imports torch, follows a link out of the configured roots, unpickles, or
runs code of an upload outside the limits of sandbox.py and bounded_regex.py. Every refusal says what is wrong and what
to do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.models.tokenizer_files import TOKENIZER_CONFIGS, refuse_named_files
from tokenforce_service.refusals import Refusal

MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
WEIGHT_INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = {MODEL_CONFIG: 4 << 20, ADAPTER_CONFIG: 4 << 20, WEIGHT_INDEX: 32 << 20}
OTHER_JSON_BYTES = 16 << 20
"""A JSON file may take twenty times its size in memory. There is room for the index of some 200,000 tensors and for a
tokenizer_config.json of tens of thousands of added tokens."""
MAX_TOKENIZER_CONFIG_BYTES = 32 << 20
"""Of all tokenizer configs in the folder and below it: each one is read, a linked one each time."""
MAX_TOKENIZER_BYTES = 128 << 20
"""Of a file that the tokenizer is built from; that of a vocabulary of 262k entries has some 33 MiB."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
ELSEWHERE = (
    (MODEL_CONFIG, "speculators_config", "another model to load instead; scan that model."),
    (MODEL_CONFIG, "configuration_files", "other files to read instead; leave one config.json without that entry."),
    (
        TOKENIZER_CONFIG,
        "fast_tokenizer_files",
        "other files to read instead; leave one tokenizer.json without that entry.",
    ),
)
"""What a folder may name so that something else is loaded than what was checked: file, field, what it names."""


@dataclass(frozen=True)
class Folder:
    """A folder whose links, file types and tokenizer configs are checked. Its configs are not opened again.

    `names` are those of all that lies directly in it, `files` those of the files among them. `config` is config.json,
    or adapter_config.json where there is an adapter and no model; `tokenizer_config` is empty without such a file.
    """

    path: Path
    names: frozenset[str]
    files: frozenset[str]
    config_name: str
    config: Mapping[str, Any] = field(repr=False)
    tokenizer_config: Mapping[str, Any] = field(repr=False)

    @property
    def is_adapter(self) -> bool:
        return self.config_name == ADAPTER_CONFIG

    @property
    def has_tokenizer(self) -> bool:
        return not self.files.isdisjoint(TOKENIZER_FILES)

    @property
    def has_chat_template(self) -> bool:
        return not self.files.isdisjoint(CHAT_TEMPLATES) or bool(self.tokenizer_config.get("chat_template"))

    def refuse_code_and_detours(self) -> None:
        """Neither the config nor the tokenizer's may name code, or files to be read in place of others.

        Raises:
            Refusal: `remote_code`, `model_invalid`.
        """
        for name, content in ((self.config_name, self.config), (TOKENIZER_CONFIG, self.tokenizer_config)):
            if content.get("auto_map"):
                raise Refusal(
                    ErrorCode.remote_code,
                    f"{name} asks for code of its own (`auto_map`); tokenforce never runs uploaded code. "
                    "Save the model in a standard architecture.",
                )
            for file, field_name, what in ELSEWHERE:
                if file == name and content.get(field_name) is not None:
                    raise Refusal(ErrorCode.model_invalid, f"{name} names (`{field_name}`) {what}")


def resolve(model: str, roots: Sequence[Path]) -> Path:
    """The real path of a model folder, if it lies under a root.

    Raises:
        Refusal: `path_not_allowed` (checked first, so that callers cannot find out what exists outside the roots),
            `model_not_found`.
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


def read_folder(path: Path, roots: Sequence[Path]) -> Folder:
    """List a folder, check everything in it and below it, and read its configs.

    Raises:
        Refusal: `path_not_allowed` (a link leads out of the roots), `model_invalid`, `config_missing`.
    """
    names, files = set(), set()
    tokenizer_config: Mapping[str, Any] = {}
    left = MAX_TOKENIZER_CONFIG_BYTES
    for entry, is_file in _entries(path, roots):
        direct = entry.parent == path
        if direct:
            names.add(entry.name)
        if not is_file:
            continue
        if direct:
            files.add(entry.name)
        if entry.name in TOKENIZER_CONFIGS:
            left -= entry.stat().st_size
            if left < 0:
                raise Refusal(
                    ErrorCode.model_invalid,
                    f"The tokenizer configs take more than {MAX_TOKENIZER_CONFIG_BYTES >> 20} MiB; remove copies.",
                )
            content = read_json(entry)
            refuse_named_files(entry.name, content)
            if direct and entry.name == TOKENIZER_CONFIG:
                tokenizer_config = content
        elif entry.name in TOKENIZER_FILES:
            _refuse_larger(entry, MAX_TOKENIZER_BYTES)
    config_name = _config_name(files)
    return Folder(
        path=path,
        names=frozenset(names),
        files=frozenset(files),
        config_name=config_name,
        config=read_json(path / config_name),
        tokenizer_config=tokenizer_config,
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


def _config_name(files: set[str]) -> str:
    if MODEL_CONFIG in files and ADAPTER_CONFIG in files:
        raise Refusal(
            ErrorCode.model_invalid,
            "The folder has an adapter_config.json beside config.json, and some programs would put that adapter on "
            "the model; give each a folder of its own.",
        )
    if MODEL_CONFIG in files:
        return MODEL_CONFIG
    if ADAPTER_CONFIG in files:
        return ADAPTER_CONFIG
    raise Refusal(ErrorCode.config_missing, "The folder has no config.json; upload the whole model folder.")


def _refuse_larger(path: Path, limit: int) -> None:
    if path.stat().st_size > limit:
        raise Refusal(ErrorCode.model_invalid, f"{path.name} is larger than {limit >> 20} MiB; upload a smaller one.")


def _entries(path: Path, roots: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Everything in the folder and below it, and whether it is a file: a linked chat template would end up in a report.

    Raises:
        Refusal: `path_not_allowed`, `model_invalid`.
    """
    pending, seen = [path], {path}
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
            is_folder = os.path.isdir(real)
            if is_folder:
                pending += [real] if real not in seen else []
                seen.add(real)
            elif not os.path.isfile(real):  # opening a pipe would wait for ever
                raise Refusal(ErrorCode.model_invalid, f"{entry.name} is not a regular file; remove it.")
            yield entry, not is_folder


def _inside(real: Path, roots: Sequence[Path]) -> bool:
    return any(real.is_relative_to(_real(root)) for root in roots)


def _real(path: Path) -> Path:
    """Without links; unlike `Path.resolve` no error for links in a circle."""
    return Path(os.path.realpath(path))
