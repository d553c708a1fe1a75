"""Where the local stack keeps its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.documented import REPOSITORY
from tokenforce.home import home


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for given, meant in [("", "user/.tokenforce"), ("~/x", "user/x"), ("here", "here"), (f"{tmp_path}/y", "y")]:
        monkeypatch.setenv("TOKENFORCE_HOME", given)
        assert home() == tmp_path / meant
    monkeypatch.delenv("TOKENFORCE_HOME")
    assert home() == tmp_path / "user" / ".tokenforce"


def test_the_home_folder_is_read_in_one_place() -> None:
    sources = [path for top in ("client", "service", "workers") for path in (REPOSITORY / top).rglob("*.py")]
    read = [path.name for path in sources if 'environ.get("TOKENFORCE_HOME")' in path.read_text("utf-8")]
    assert read == ["home.py"]
