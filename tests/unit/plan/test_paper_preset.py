"""The `paper` preset reproduces the authors' own published phase-1 scores and kept set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_decoder import ScriptedDecoder
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.forcing.scoring import score
from tokenforce_core.forcing.sweep import Sweep
from tokenforce_core.plan.presets import settings_for

ROWS: list[list[Any]] = json.loads((Path(__file__).parents[2] / "data" / "utf_first_phase.json").read_text())
PAPER = settings_for(ScanRequest(model="/m", preset="paper"))


def generated(row: list[Any]) -> list[float]:
    """Probabilities of the three generated tokens; number 0 is the forced token, counted as 1.0."""
    tokens = row[4]
    assert tokens["0"]["tokenprob"] == 1.0
    return [tokens[str(i)]["tokenprob"] for i in range(1, len(tokens))]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_score_is_reproduced(row: list[Any]) -> None:
    assert score(generated(row), PAPER) == pytest.approx(row[2], abs=1e-6)


def test_a_sweep_keeps_the_same_set() -> None:
    """All published rows survive; the same rows weakened to the bar or under it do not."""
    by_id = {row[0]: generated(row) for row in ROWS}
    bar = {row[0] + 100_000: [0.95 - 1e-9, 0.95, 0.9] for row in ROWS}  # (1 + 2.8) / 4 = 0.95, not above it
    everything = by_id | bar
    decoder = ScriptedDecoder(lambda prompt: [(5, p) for p in everything[prompt[-1]]])
    kept = Sweep(PAPER, 0, [1], sorted(everything), frozenset({5})).run(decoder)
    assert {c.forced_id for c in kept} == set(by_id)
    assert [c.forced_id for c in kept] == sorted(by_id, key=lambda i: (-(1 + sum(by_id[i])) / 4, i))


def test_settings_are_the_papers() -> None:
    assert (PAPER.alpha, PAPER.beta, PAPER.floor, PAPER.min_tokens) == (3, 50, 0.95, 3)
    assert PAPER.count_forced_token
    assert not PAPER.stop_at_end
