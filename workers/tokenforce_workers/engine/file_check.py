"""Checks that an engine loads the files that the planner has hashed: an upload may be replaced in between."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tokenforce_core.model_files import digest_of, listed
from tokenforce_core.plan.hashed import Hashed

Stamp = tuple[int, int, int, int]
"""Inode, size in bytes, times of the last change of content and of anything, in nanoseconds."""


class FilesChanged(ValueError):
    """The files differ from those that the planner has checked; the message says what to do."""


def check_unchanged(hashed: Sequence[Hashed]) -> None:
    """Raises `FilesChanged`, `OSError`. Files are read again only if their stamps have changed since the last check."""
    for one in hashed:
        same = listed(one.folder) == one.listed and _digest(one.files, tuple(map(_stamp, one.files))) == one.digest
        if not same:
            raise FilesChanged(
                f"the files of {one.folder.name!r} have changed since the scan was planned; scan it again"
            )


def _stamp(file: Path) -> Stamp:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=64)
def _digest(files: tuple[Path, ...], stamps: tuple[Stamp, ...]) -> str:  # noqa: ARG001 - part of the key
    return digest_of(files)
