"""No tuned number hides in the algorithm: all of them are settings, and so in every report."""

from __future__ import annotations

from pathlib import Path

import pytest

import tokenforce_core
import tokenforce_service
from tests.support.numeric_constants import numbers_in
from tests.support.scan_results import example_report
from tokenforce.wire.report import Report
from tokenforce_core.plan import search_settings, verdict_thresholds

PACKAGES = ("contrast", "findings", "forcing", "fingerprints", "lens", "plan")
PLANNING = ("trigger_prompts", "reference")
"""Modules of the service that decide which triggers are asked, and whether a reference fits."""
NOT_THE_ALGORITHM = {
    "fingerprints/store": "keeps fingerprints in Redis; decides nothing about a model",
    "plan/presets": "the place for the numbers of a preset",
    "plan/search_settings": "the place for tuned numbers",
    "plan/verdict_thresholds": "the place for tuned numbers",
}
NOT_TUNED = {
    ("contrast/statistics", "MAD_TO_SIGMA"): "mathematics",
    ("contrast/reference_cache", "DIGEST_CHARACTERS"): "the length of a name",
    ("contrast/unforced", "MOST_LETTERS"): "a limit for tokens of any length",
    ("contrast/shard", "DECIMALS"): "rounding of what is kept",
    ("forcing/scoring", "SLACK"): "rounding of a sum",
    ("forcing/predictor", "NEVER"): "stands for minus infinity",
    ("forcing/predictor", "ALIGNMENT"): "the engines' block size",
    ("lens/difference", "MATRIX_AXES"): "mathematics",
    ("lens/difference", "GIB"): "a unit",
    ("lens/difference", "COPIES"): "memory",
    ("lens/scores", "ROWS_TOGETHER"): "memory",
    ("lens/roles", "_LONGEST_NUMBER"): "how much of a name is read",
    ("plan/plan", "MAX_LORA_RANK"): "the engine's limit; another one changes no result",
    ("planning/trigger_prompts", "QUESTIONS_SECONDS"): "a deadline, over which the upload is refused",
    ("planning/trigger_prompts", "WORDS"): "how many words a trigger replaces",
    ("planning/trigger_prompts", "WORD_LETTERS"): "how long these words are",
    ("planning/reference", "NAME_CHARACTERS"): "how much of a name a refusal quotes",
}


def modules() -> dict[str, Path]:
    """Every module of the algorithm, and those of `PLANNING`: package and name, and its file."""
    core, service = Path(tokenforce_core.__file__).parent, Path(tokenforce_service.__file__).parent
    files = [file for package in PACKAGES for file in sorted((core / package).rglob("*.py"))]
    named = {file.relative_to(core).with_suffix("").as_posix(): file for file in files}
    assert set(NOT_THE_ALGORITHM) < set(named)
    named |= {f"planning/{name}": service / "planning" / f"{name}.py" for name in PLANNING}
    return {name: file for name, file in named.items() if name not in NOT_THE_ALGORITHM}


MODULES = modules()


@pytest.mark.parametrize("module", MODULES)
def test_no_module_of_the_algorithm_has_a_number_of_its_own(module: str) -> None:
    allowed = {name for place, name in NOT_TUNED if place == module}
    found = numbers_in(MODULES[module].read_text("utf-8"), allowed)
    assert found == [], "give it a name and a unit in tokenforce.wire.settings"


@pytest.mark.parametrize(("module", "name"), NOT_TUNED)
def test_every_exception_is_needed(module: str, name: str) -> None:
    others = {other for place, other in NOT_TUNED if place == module} - {name}
    assert numbers_in(MODULES[module].read_text("utf-8"), others) != []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("KEPT = 256", ["256"]),
        ("EACH = 1.0", ["1.0"]),
        ("HIDDEN: float = 2.0", ["2.0"]),
        ("RETRIES = 1", ["1"]),
        ("SIGN = -1", ["1"]),
        ("SHARES = {1: 0.5}", ["1", "0.5"]),
        ("SLACK = 0.37", ["0.37"]),
        ("limits = [2, 1]", ["2", "1"]),
        ("few, many = 0, 2", ["2"]),
        ("weigh = lambda p, q: 2 * p - q", ["2"]),
        ("class Beam:\n few = 2", ["2"]),
        ("class Beam:\n few: int = 1", ["1"]),
        ("def f():\n class Beam:\n  few = 1", ["1"]),
        ("@cache(maxsize=1)\ndef f(): ...", ["1"]),
        ("def f(x, most=2): ...", ["2"]),
        ("def f(x, *, most=1): ...", ["1"]),
        ("async def f(x, most=1): ...", ["1"]),
        ("def f():\n return lambda x, most=1: x", ["1"]),
        ("def f():\n MOST = 1", ["1"]),
        ("def f(x):\n return (MOST := 1) < x", ["1"]),
        ("def f():\n limits = [2, 1]", ["2", "1"]),
        ("def f():\n few = 2", ["2"]),
        ("def f():\n return {'few': 1}", ["1"]),
        ("def f(x, share=0.25): return x > 0.3", ["0.25", "0.3"]),
        ("def f(x): return x >= 2.0", ["2.0"]),
        ("def f(n): return n >= 2", ["2"]),
        ("def f(n): return n > -2", ["2"]),
        ("def f(n):\n match n:\n  case 2: return n", ["2"]),
        ("def f(x): return x > 1/2", ["1", "2"]),
        ("def f(x): return x > -1 / 2", ["1", "2"]),
        ("def f(x): return x > 1 << 1", ["1", "1"]),
        ("def f(x): return x > 1 + 1 + 1", ["1", "1", "1"]),
        ("def f(x): return x[1 + 1]", ["1", "1"]),
        ("def f(x): return x + 2", ["2"]),
        ("def f(x): return range(2, x)", ["2"]),
        ("def f(x): return g(x, most=2)", ["2"]),
        ("def f(x): return x > 3j", ["3j"]),
        ("def f(x): return x > float('0.85')", ["'0.85'"]),
        ("def f(x): return x > int('2')", ["'2'"]),
        ("def f(x): return x > float(b'1e-3')", ["b'1e-3'"]),
        ("def f(x): return x > decimal.Decimal('0.85')", ["'0.85'"]),
        ("def f(x): return x > Fraction('1/3')", ["'1/3'"]),
        ("def f(x): return x > np.float32('0.85')", ["'0.85'"]),
    ],
)
def test_a_number_is_found_wherever_it_stands(source: str, found: list[str]) -> None:
    assert sorted(line.partition(": ")[2] for line in numbers_in(source)) == sorted(found)


@pytest.mark.parametrize(
    "source",
    [
        "NOTHING = Period(0, 0, 0.0)",
        "class Trace:\n score: float = 0.0\n ended: bool = True",
        "def f(x, start=0, best=0.0, strict=True): ...",
        "def f(x): return x[-1] + 2 * min(1.0, x[0])",
        "def f(x): return x[2] + x[:2] + x[::2] + x[0, 2] + x[:, 1:2]",
        "def f(x): return x**2 + x / 2 + x // 2 + x % 2 + 2**x",
        "def f(x): return len(x) > 1 or x == -1 or x.sum(axis=1) == 0 or x.any(axis=2)",
        "def f(x):\n count = 1\n count += 1\n return 1 - x + (count - 1)",
        "def f(x): return max(x, key=lambda one: -2 * one)",
        "def f(n): return [-1] * n",
        "def f(x): return float('inf') > float(x) > float('-inf')",
        "def f(x): return f'{x:.2f} of 3', '0.85'",
    ],
)
def test_a_number_that_its_place_explains_is_not_tuned(source: str) -> None:
    assert numbers_in(source) == []


def test_the_line_of_a_number_is_named() -> None:
    assert numbers_in("\nKEPT = 256") == ["line 2: 256"]


def test_a_number_that_is_not_tuned_is_so_under_its_own_name_only() -> None:
    assert numbers_in("SLACK = 1e-12", {"SLACK"}) == []
    assert numbers_in("SLACK = 1e-12\nOTHER = 1e-12", {"SLACK"}) == ["line 2: 1e-12"]


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
