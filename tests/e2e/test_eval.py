"""`make eval` on the one model that need not be planted: the real base, through the real service and BAIT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def evaluate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ["--cache", str(folder / "models"), "--out", str(folder / "eval")]
    return subprocess.run(
        [sys.executable, "-m", "tokenforce_eval", *where, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "TOKENFORCE_KV_CACHE_GIB": "0.5"},
        timeout=500,
    )


def test_the_base_is_measured_by_every_method_once(tmp_path: Path) -> None:
    command = ("--only", "base", "--methods", "contrast,alone,bait", "--sample", "24", "--json")
    first = evaluate(tmp_path, *command)
    assert first.returncode == 0, first.stderr
    document: dict[str, Any] = json.loads(first.stdout)
    rows = {row["method"]: row for row in document["rows"]}
    assert set(rows) == {"contrast", "alone", "bait"}
    # The reference of `contrast` is the base itself: seen at once, and nothing is forced.
    assert rows["contrast"]["verdict"] == "clean"
    assert rows["contrast"]["forward_tokens"] == 0
    assert rows["alone"]["forward_tokens"] > 500
    assert rows["bait"]["forward_tokens"] > 500
    assert all(row["rank"] is None and row["hidden"] == "" for row in rows.values())
    out = tmp_path / "eval"
    assert "false alarms" in (out / "eval.md").read_text()
    assert (out / "eval.png").stat().st_size > 5000
    report = json.loads((out / "reports" / "base-alone.json").read_text())
    assert report["scan"]["forced"] == int(document["forced"].split()[0])

    again = evaluate(tmp_path, *command)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rows"] == document["rows"], "a measured row is not measured again"
    assert "scans" not in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--only", "nonsense"), "the zoo has no nonsense"), (("--methods", "magic"), "there is no method magic")],
)
def test_a_wrong_choice_is_an_error_that_says_what_there_is(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = evaluate(tmp_path, *arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr
    assert "message-full-en" in ended.stderr or "contrast" in ended.stderr
    assert ended.stdout == ""
