"""Reads and hashes model folders. The digests key stored results, queues and the cache of the reference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tokenforce_core.plan.hashed import Hashed

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


def hashed_of(folder: Path, weights: Iterable[Path]) -> Hashed:
    """Hash `weights` and the files of `folder` that decide what a scan sees. Raises `OSError`."""
    files = tuple(sorted({*weights, *described_by(folder)}))
    return Hashed(folder=folder, files=files, listed=listed(folder), digest=digest_of(files))


def listed(folder: Path) -> tuple[str, ...]:
    """Names of the weights in `folder` and of the files that describe them. An extra one could be loaded."""
    return tuple(sorted({file.name for file in (*folder.glob("*.safetensors"), *described_by(folder))}))


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 over the files' names and SHA-256, in the order of names.

    Names are escaped: a line break in a name could make one file look like two.
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
