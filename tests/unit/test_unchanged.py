"""Files that are loaded are those that were hashed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tokenforce_core.digests import Hashed
from tokenforce_workers.unchanged import FilesChanged, check_unchanged


@pytest.fixture
def hashed(tmp_path: Path) -> Hashed:
    folder = tmp_path / "upload"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(name.encode() * 100)
    return Hashed.of(folder.iterdir())


def test_the_same_bytes_pass_whoever_wrote_them(hashed: Hashed) -> None:
    check_unchanged([hashed])
    for file in hashed.files:
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
    check_unchanged([hashed, hashed])
    check_unchanged([])


def test_other_bytes_do_not_pass_though_size_and_time_are_as_they_were(hashed: Hashed) -> None:
    check_unchanged([hashed])
    file = hashed.files[0]
    before = file.stat()
    file.write_bytes(b"x" * before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(FilesChanged, match="the files of 'upload' have changed since the scan was planned"):
        check_unchanged([hashed])


def test_a_file_that_is_gone_is_an_error(hashed: Hashed) -> None:
    hashed.files[0].unlink()
    with pytest.raises(FileNotFoundError):
        check_unchanged([hashed])
