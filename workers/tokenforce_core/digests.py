"""Digests of model folders: what a scan's result, its queue and the cache of its reference hang on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

DIGESTED = ("config.json", "generation_config.json", "tokenizer*", "vocab*", "merges.txt", "chat_template*")


class Hashed(BaseModel):
    """Files and their digest: what the planner has checked, and what the engine has to load."""

    model_config = ConfigDict(frozen=True)

    files: tuple[Path, ...]
    digest: str

    @classmethod
    def of(cls, files: Iterable[Path]) -> Hashed:
        """Raises `OSError`."""
        named = tuple(sorted(files))
        return cls(files=named, digest=digest_of(named))


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
