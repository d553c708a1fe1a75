"""Folders that take long to make: named by what went into them, complete or absent, never half-made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tokenforce.cli.local_stack import home


def default_cache() -> Path:
    """Where models are kept: `$TOKENFORCE_HOME/models`, else `~/.tokenforce/models`."""
    return home() / "models"


def recipe_digest(**recipe: str | int | float) -> str:
    """SHA-256 (hex) of everything that decides the outcome; the order of the fields does not matter."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def weights_digest(folder: Path) -> str:
    """SHA-256 (hex) over the SHA-256 of each safetensors file, in order of their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block succeeds, and is removed when it fails.

    If another process has made `target` in the meantime, that one stays: equal recipes make equal folders. With
    `replace`, what is there gives way, at the end of the block and not before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    draft = Path(tempfile.mkdtemp(prefix=f".draft-{os.getpid()}-", dir=target.parent))
    old = draft.with_name(draft.name + "-old")
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp's 0700 would shut out a service that runs as another user
        if replace and target.exists():
            target.rename(old)
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(parent: Path) -> None:
    """Remove the drafts of processes that were killed."""
    for draft in parent.glob(".draft-*"):
        owner = draft.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(draft, ignore_errors=True)
