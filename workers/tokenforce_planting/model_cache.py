"""The folder that keeps models which take long to make. A model in it is complete or absent, never half-made."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tokenforce.home import home


def default_cache() -> Path:
    """`$TOKENFORCE_HOME/models`, else `~/.tokenforce/models`."""
    return home() / "models"


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder. It becomes `target` if the block succeeds and is removed if the block fails.

    If another process makes `target` in the meantime, that folder stays: equal recipes make equal folders. With
    `replace`, an existing folder is replaced at the end of the block, not before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    draft = Path(tempfile.mkdtemp(prefix=f".draft-{os.getpid()}-", dir=target.parent))
    old = draft.with_name(draft.name + "-old")
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp makes 0700, which a service of another user could not read
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
