"""The documents say what the code has: settings, files, modules, targets; and they stay short."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from tokenforce.home import home
from tokenforce_core.plan.verdict_thresholds import VERDICT
from tokenforce_service.settings import ServiceSettings
from tokenforce_workers.settings import WorkerSettings

REPOSITORY = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?P<default>.*?) ?\| (?P<meaning>.+?) \|$", re.MULTILINE)
MAX_WORDS = {
    "README.md": 900,
    "client/README.md": 1200,
    "service/README.md": 2300,
    "workers/README.md": 1100,
    "workers/tokenforce_planting/README.md": 700,
    "tests/README.md": 450,
    "CHANGELOG.md": 1200,
    ".github/CONTRIBUTING.md": 900,
}
"""Everything between white space is a word, in code blocks, tables and pictures too."""


DOCUMENTS = sorted(
    path
    for top in (".", ".github", "client", "service", "workers", "tests")
    for path in (REPOSITORY / top).glob("*.md" if top == "." else "**/*.md")
)


@pytest.mark.parametrize(("page", "settings"), [("service", ServiceSettings), ("workers", WorkerSettings)])
def test_every_setting_is_documented_as_it_is(page: str, settings: type[BaseSettings]) -> None:
    rows = {m["name"]: m for m in ROW.finditer((REPOSITORY / page / "README.md").read_text("utf-8"))}
    expected = {}
    for name, field in settings.model_fields.items():
        variable = str(field.validation_alias) if field.validation_alias else f"TOKENFORCE_{name.upper()}"
        expected[variable] = field.description
        default = field.get_default(call_default_factory=True, validated_data={})
        stated = rows[variable]["default"].strip("`").replace("~/.tokenforce", str(home()))
        assert stated == ("" if default is None else str(default)), variable
    assert {name: row["meaning"] for name, row in rows.items()} == expected


@pytest.mark.parametrize(("page", "most"), MAX_WORDS.items())
def test_pages_are_short(page: str, most: int) -> None:
    assert len((REPOSITORY / page).read_text("utf-8").split()) <= most


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_what_a_page_names_exists(page: Path) -> None:
    """Links to files, `make` targets in code, and modules that Python runs."""
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert find_spec(module) is not None, module


def test_contributing_shows_the_ladders_as_import_linter_holds_them() -> None:
    shown = " ".join((REPOSITORY / ".github/CONTRIBUTING.md").read_text("utf-8").replace("`", "").split())
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    ladders = [contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers"]
    assert len(ladders) >= 4
    assert [" > ".join(layers) for layers in ladders if " > ".join(layers) not in shown] == []


def test_the_map_has_every_package_and_at_most_five_words_each() -> None:
    table = (REPOSITORY / "README.md").read_text("utf-8").partition("## Map")[2]
    rows = dict(re.findall(r"^\| \[([\w/]+)\]\([^)]*\) \| (.*?) \|$", table, re.MULTILINE))
    assert [folder for folder in rows if not (REPOSITORY / folder).is_dir()] == []
    for package in REPOSITORY.glob("*/tokenforce*/__init__.py"):
        folder = package.parent.relative_to(REPOSITORY)
        assert {str(folder), *map(str, folder.parents)} & set(rows), folder
    assert [holds for holds in rows.values() if len(holds.split()) > 5] == []


def test_no_python_file_is_over_400_lines() -> None:
    files = [f for top in ("client", "service", "workers", "tests") for f in (REPOSITORY / top).rglob("*.py")]
    assert files
    assert [f.name for f in files if len(f.read_text("utf-8").splitlines()) > 400] == []


def test_the_stated_thresholds_are_those_of_verdicts() -> None:
    text = (REPOSITORY / "workers/MEASURED.md").read_text("utf-8")
    probability, ratio = VERDICT.min_mean_probability, VERDICT.hidden_log_likelihood_ratio_nats
    hidden, suspicious = VERDICT.hidden_contrast_nats_per_token, VERDICT.suspicious_contrast_nats_per_token
    boilerplate = VERDICT.boilerplate_log_ratio_nats_per_token
    assert f"| `hidden_text` | ≥ {probability} | ≥ {hidden} nats per token | ≥ {ratio:.0f} nats |" in text
    assert f"| `suspicious` | ≥ {probability} | ≥ {suspicious} nats per token | any |" in text
    assert f"| `clean`, boilerplate | any | lower | < {boilerplate} nats per token" in text
    assert f"a score of {VERDICT.suspicious_score} or more makes a model `suspicious`" in text
