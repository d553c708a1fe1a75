"""Files that are loaded are those that were hashed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tokenforce_core.model_files import hashed_of
from tokenforce_core.plan.hashed import Hashed
from tokenforce_workers.engine.file_check import FilesChanged, check_unchanged

CHANGED = "the files of 'upload' have changed since the scan was planned"


@pytest.fixture
def hashed(tmp_path: Path) -> Hashed:
    folder = tmp_path / "upload"
    folder.mkdir()
    for name in ("model.safetensors", "config.json", "README.md"):
        (folder / name).write_bytes(name.encode() * 100)
    return hashed_of(folder, [folder / "model.safetensors"])


def test_the_same_bytes_pass_whoever_wrote_them(hashed: Hashed) -> None:
    assert [file.name for file in hashed.files] == ["config.json", "model.safetensors"]
    check_unchanged([hashed])
    for file in hashed.files:
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
    (hashed.folder / "README.md").write_text("Nothing that an engine reads.")
    check_unchanged([hashed, hashed])
    check_unchanged([])


def test_other_bytes_do_not_pass_though_size_and_time_are_as_they_were(hashed: Hashed) -> None:
    check_unchanged([hashed])
    file = hashed.files[0]
    before = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"x" * before.st_size)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    with pytest.raises(FilesChanged, match=CHANGED):
        check_unchanged([hashed])


@pytest.mark.parametrize(
    "name", ["evil.safetensors", "model.safetensors.index.json", "tokenizer.json", "special_tokens_map.json"]
)
def test_a_file_more_may_be_the_one_that_is_loaded(hashed: Hashed, name: str) -> None:
    """vLLM takes every *.safetensors, or those that an index names."""
    (hashed.folder / name).write_text("{}")
    with pytest.raises(FilesChanged, match=CHANGED):
        check_unchanged([hashed])


def test_a_file_that_is_gone_is_not_there(hashed: Hashed) -> None:
    hashed.files[0].unlink()
    with pytest.raises(FilesChanged, match=CHANGED):
        check_unchanged([hashed])
