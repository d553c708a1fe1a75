"""What the README files say about settings and structure is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from tokenforce_service.settings import ServiceSettings
from tokenforce_workers.settings import WorkerSettings

REPOSITORY = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?P<default>.*?) ?\| (?P<meaning>.+?) \|$", re.MULTILINE)


@pytest.mark.parametrize(("page", "settings"), [("service", ServiceSettings), ("workers", WorkerSettings)])
def test_every_setting_is_documented_as_it_is(page: str, settings: type[BaseSettings]) -> None:
    rows = {m["name"]: m for m in ROW.finditer((REPOSITORY / page / "README.md").read_text())}
    expected = {}
    for name, field in settings.model_fields.items():
        variable = str(field.validation_alias) if field.validation_alias else f"TOKENFORCE_{name.upper()}"
        expected[variable] = field.description
        stated = rows[variable]["default"].strip("`").replace("~", str(Path.home()))
        assert stated == ("" if field.default is None else str(field.default)), variable
    assert {name: row["meaning"] for name, row in rows.items()} == expected


def test_the_readme_is_short_and_its_files_exist() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert len(readme.splitlines()) < 200
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", readme):
        assert (REPOSITORY / target).exists(), target


def test_no_python_file_is_over_400_lines() -> None:
    files = [f for top in ("client", "service", "workers", "tests") for f in (REPOSITORY / top).rglob("*.py")]
    assert files
    assert [f.name for f in files if len(f.read_text().splitlines()) > 400] == []
