"""No tuned number hides in the algorithm: all of them are settings, and so in every report."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.scan_results import example_report
from tokenforce.wire.report import Report
from tokenforce_core.plan import search_settings, verdict_thresholds

PACKAGES = ("contrast", "findings", "forcing", "fingerprints")
NOT_THE_ALGORITHM = "store.py"
"""Keeps fingerprints in Redis; decides nothing about a model."""
PLANNING = ("trigger_prompts", "reference")
"""Modules of the service that decide which triggers are asked, and whether a reference fits."""
HARMLESS = {(int, -1), (int, 0), (int, 1), (int, 2), (float, 0.0), (float, 1.0)}
"""Within functions: counts, signs, places, halves, limits of probabilities. A named constant is not, unless it is 0."""
NOT_TUNED = {
    ("statistics", "MAD_TO_SIGMA"): "mathematics",
    ("scoring", "SLACK"): "rounding of a sum",
    ("predictor", "NEVER"): "stands for minus infinity",
    ("predictor", "ALIGNMENT"): "the engines' block size",
    ("reference_cache", "DIGEST_CHARACTERS"): "the length of a name",
    ("shard", "DECIMALS"): "rounding of what is kept",
    ("trigger_prompts", "QUESTIONS_SECONDS"): "a deadline, over which the upload is refused",
    ("trigger_prompts", "WORDS"): "how many words a trigger replaces",
    ("trigger_prompts", "WORD_LETTERS"): "how long these words are",
    ("reference", "NAME_CHARACTERS"): "how much of a name a refusal quotes",
}


def sources() -> list[Path]:
    found = []
    for package in PACKAGES:
        folder = folder_of(f"tokenforce_core.{package}")
        found += sorted(set(folder.glob("*.py")) - {folder / NOT_THE_ALGORITHM})
    return found + [folder_of("tokenforce_service.planning") / f"{module}.py" for module in PLANNING]


def folder_of(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def numbers_in(source: str, module: str = "") -> list[str]:
    """Line and value of every number that is neither harmless nor in `NOT_TUNED`."""
    tree = ast.parse(source)
    allowed: set[ast.AST] = set()
    constants: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if any((module, name) in NOT_TUNED for name in names):
                allowed |= set(ast.walk(node))
            elif any(name.isupper() for name in names):
                constants |= set(ast.walk(node))
    return [
        f"line {node.lineno}: {node.value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and not isinstance(node.value, bool)
        and ((node in constants and node.value != 0) or (type(node.value), node.value) not in HARMLESS)
        and node not in allowed
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_module_of_the_algorithm_has_a_number_of_its_own(path: Path) -> None:
    assert numbers_in(path.read_text("utf-8"), path.stem) == [], "give it a name and a unit in tokenforce.wire.settings"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("KEPT = 256", ["line 1: 256"]),
        ("EACH = 1.0", ["line 1: 1.0"]),
        ("HIDDEN: float = 2.0", ["line 1: 2.0"]),
        ("RETRIES = 1", ["line 1: 1"]),
        ("def f(x, share=0.25): return x > 0.3", ["line 1: 0.25", "line 1: 0.3"]),
        ("def f(x): return x >= 2.0", ["line 1: 2.0"]),
        ("SHARES = {1: 0.5}", ["line 1: 1", "line 1: 0.5"]),
        ("SLACK = 0.37", ["line 1: 0.37"]),
        ("def f(x): return x[-1] + 2 * min(1.0, x[0])", []),
    ],
)
def test_a_number_is_found_wherever_it_stands(source: str, found: list[str]) -> None:
    assert sorted(numbers_in(source, "verdicts")) == sorted(found)


def test_a_number_that_is_not_tuned_is_so_in_its_own_module_only() -> None:
    assert numbers_in("SLACK = 1e-12", "scoring") == []
    assert numbers_in("SLACK = 1e-12", "verdicts") == ["line 1: 1e-12"]


def test_a_report_says_every_number_that_it_rests_on() -> None:
    report = Report.model_validate_json(example_report("scan_1").model_dump_json())
    settings = report.scan.settings
    assert settings.search == search_settings.SEARCH
    assert settings.findings == verdict_thresholds.FINDINGS
    assert settings.verdict == verdict_thresholds.VERDICT
    assert settings.fingerprints == verdict_thresholds.FINGERPRINTS
    assert settings.loop_min_share == search_settings.LOOP_MIN_SHARE
    assert report.schema_version.partition(".")[0] == "2"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        search_settings.SEARCH.beam.branches = 7  # type: ignore[misc]
