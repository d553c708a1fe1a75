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
HARMLESS = {0, 1, 2, -1}
"""Counts, signs, places and halves; what is tuned to data has another value."""
NOT_TUNED = {
    "MAD_TO_SIGMA": "mathematics",
    "SLACK": "rounding of a sum",
    "NEVER": "stands for minus infinity",
    "ALIGNMENT": "the engines' block size",
    "DIGEST_CHARACTERS": "the length of a name",
    "DECIMALS": "rounding of what is kept",
}


def sources() -> list[Path]:
    found = []
    for package in PACKAGES:
        spec = find_spec(f"tokenforce_core.{package}")
        assert spec is not None
        assert spec.origin is not None
        found += sorted(set(Path(spec.origin).parent.glob("*.py")) - {Path(spec.origin).parent / NOT_THE_ALGORITHM})
    return found


def numbers_in(source: str) -> list[str]:
    """Line and value of every number that is neither harmless nor named in `NOT_TUNED`."""
    tree = ast.parse(source)
    allowed: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in NOT_TUNED for t in node.targets):
            allowed |= set(ast.walk(node))
    return [
        f"line {node.lineno}: {node.value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and not isinstance(node.value, bool)
        and node.value not in HARMLESS
        and node not in allowed
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_module_of_the_algorithm_has_a_number_of_its_own(path: Path) -> None:
    assert numbers_in(path.read_text("utf-8")) == [], "give it a name and a unit in tokenforce.wire.settings"


def test_a_number_would_be_found_wherever_it_stands() -> None:
    assert numbers_in("KEPT = 256") == ["line 1: 256"]
    assert numbers_in("def f(x, share=0.25): return x > 0.3") == ["line 1: 0.25", "line 1: 0.3"]
    assert numbers_in("SHARES = {1: 0.5}\nMAD_TO_SIGMA = 1.4826\nx = y[-1] + 2 * 1.0") == ["line 1: 0.5"]


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
