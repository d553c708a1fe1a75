"""Digests of model folders: what a scan's result, its queue and the cache of its reference hang on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

DIGESTED = (
    "config.json",
    "generation_config.json",
    "*.safetensors.index.json",
    "adapter_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "tekken.json",
    "vocab*",
    "merges.txt",
    "chat_template*",
)


class Hashed(BaseModel):
    """A model's or an adapter's files and their digest: what the planner has checked and the engine has to load.

    `listed` are the names of all files in the folder that an engine might read; `files` are those that it should.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    files: tuple[Path, ...]
    listed: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, folder: Path, weights: Iterable[Path]) -> Hashed:
        """Of `weights` and all in `folder` that decides what a scan sees. Raises `OSError`."""
        files = tuple(sorted({*weights, *described_by(folder)}))
        return cls(folder=folder, files=files, listed=listed(folder), digest=digest_of(files))


def listed(folder: Path) -> tuple[str, ...]:
    """Names of the weights in `folder`, and of what describes them. A file more there may be a file that is loaded."""
    return tuple(sorted({file.name for file in (*folder.glob("*.safetensors"), *described_by(folder))}))


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 over the files' names and SHA-256, in the order of names.

    A name is escaped: with a line break in it, one file could stand for two.
    """
    whole = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            name = file.name.encode("unicode_escape").decode("ascii")
            whole.update(f"{name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def described_by(path: Path) -> list[Path]:
    """The files beside the weights that decide what a scan sees."""
    return [file for name in DIGESTED for file in sorted(path.glob(name)) if file.is_file()]
