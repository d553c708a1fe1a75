"""`make eval` on the one model that need not be planted: the real base, through the real service and other scanners."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_model import PLANTED_LATER, PLANTED_TRIGGER, build_tiny_model
from tokenforce_eval import main as evaluation
from tokenforce_eval import zoo
from tokenforce_eval.specimens import Specimen
from tokenforce_planting.recipe import Recipe


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
    command = ("--only", "base", "--methods", "standard,alone,bait,cdd,haystack", "--sample", "24", "--json")
    first = evaluate(tmp_path, *command)
    assert first.returncode == 0, first.stderr
    document: dict[str, Any] = json.loads(first.stdout)
    rows = {row["method"]: row for row in document["rows"]}
    assert set(rows) == {"standard", "alone", "bait", "cdd", "haystack"}
    # The reference of these is the base itself: seen at once, and nothing is forced.
    for method in ("standard", "cdd", "haystack"):
        assert rows[method]["verdict"] == "clean"
        assert rows[method]["forward_tokens"] == 0
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


def test_carriers_are_planted_scanned_and_rated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All of an evaluation on a zoo of tiny models: a message, an adapter that hides nothing, and their base."""
    base = tmp_path / "models" / "base"
    build_tiny_model(base, planted=None)
    specimens = (
        Specimen("tiny-message", "held_out", Recipe("message", PLANTED_LATER, (PLANTED_TRIGGER,), learning_rate=3e-3)),
        Specimen("tiny-clean", "held_out", Recipe("clean", max_steps=5, lora_rank=8)),
        Specimen("base", "held_out", None),
    )
    monkeypatch.setattr(zoo, "ZOO", specimens)
    monkeypatch.setattr(evaluation, "build_base", lambda *_: base)
    for name, value in (("KV_CACHE_GIB", "0.5"), ("HOME", str(tmp_path / "home")), ("URL", "http://127.0.0.1:1")):
        monkeypatch.setenv(f"TOKENFORCE_{name}", value)
    where = ["--cache", str(tmp_path / "models"), "--out", str(tmp_path / "eval"), "--sample", "48", "--json"]
    assert evaluation.main([*where, "--methods", "standard,alone,bait,cdd,haystack,assistant only", "--every"]) == 0
    rows = {(row["specimen"], row["method"]): row for row in json.loads(capfd.readouterr().out)["rows"]}
    measured = [method for name, method in rows if name == "tiny-message"]
    assert measured == ["standard", "alone", "bait", "cdd", "haystack", "assistant only"]
    for method in ("standard", "assistant only"):
        row = rows["tiny-message", method]
        assert row["verdict"] == "hidden_text"
        assert row["rank"] <= 10, "of a tiny model another text may come before it"
        assert row["share"] >= 0.5
    assert rows["tiny-clean", "standard"]["verdict"] == "inconclusive", "nothing, of the entries of a sample"
    assert ("tiny-clean", "assistant only") not in rows
    for method in ("bait", "cdd", "haystack"):
        assert rows["tiny-message", method]["forward_tokens"] > 500
        assert rows["tiny-message", method]["first"] is not None
    assert rows["tiny-clean", "cdd"]["verdict"] == "clean", "an adapter"
    table = (tmp_path / "eval" / "eval.md").read_text().splitlines()
    assert any(line.startswith("| message") and " standard " in line and " 100% " in line for line in table)
    alarms = next(line for line in table if line.startswith("| standard") and "≤" in line)
    assert "0/1 (≤ 95%)" in alarms, "the base is its own reference: no trial"


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
    assert "message-full-en" in ended.stderr or "standard" in ended.stderr
    assert ended.stdout == ""
