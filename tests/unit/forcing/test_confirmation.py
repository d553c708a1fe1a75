"""Phase 2: what is read off a confirmed continuation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tests.support.scripted_decoder import ScriptedDecoder
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.forcing.confirmation import Confirmation, without_repetition
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.presets import settings_for

SETTINGS = settings_for(ScanRequest(model="/m", alpha=8, beta=20))
END = 0


def candidate(forced: int = 10, context: int = 0) -> Trace:
    return Trace(context, forced, sweep_score=0.9)


def read(forced: int, ids: Sequence[int], values: Sequence[float]) -> Trace:
    return without_repetition(Trace(0, forced, tuple(ids), tuple(map(math.log, values))), SETTINGS)


def unit(trace: Trace) -> tuple[int, ...]:
    start = trace.period.start
    return trace.tokens[start : start + trace.period.period]


def test_a_text_that_ends_is_read_whole() -> None:
    decoder = ScriptedDecoder(lambda prompt: [(i, 0.9) for i in (1, 2, 3, 4, 5, 6)] + [(END, 0.5)] * 20)
    (found,) = Confirmation(SETTINGS, [[5]], [candidate()], frozenset({END})).run(decoder)
    assert found.tokens == (10, 1, 2, 3, 4, 5, 6)
    assert found.probabilities == pytest.approx((0.9,) * 6)
    assert found.ended
    assert not found.degenerate
    assert found.mean_probability == pytest.approx(0.9)


def test_a_loop_is_cut_after_its_first_unit() -> None:
    """What follows is copied from the context, so its certainty says nothing about the weights."""
    found = read(10, ([1, 2, 3, 4, 5, 10] * 3)[:17], [0.8] * 5 + [1.0] * 12)
    assert found.tokens == (10, 1, 2, 3, 4, 5)
    assert unit(found) == (10, 1, 2, 3, 4, 5)
    assert found.mean_probability == pytest.approx(0.8)
    assert found.period.share == 1.0
    assert not found.degenerate


def test_a_short_loop_is_degenerate() -> None:
    found = read(7, [7] * 20, [0.99] * 20)
    assert found.degenerate
    assert len(found.tokens) == 1 + SETTINGS.min_tokens


def test_the_fingerprint_of_the_paper_is_a_text() -> None:
    """ハ + リ ネ ズ ミ repeated: a unit of five tokens, the shortest that counts."""
    found = read(1, [2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5], [0.99] * 14)
    assert not found.degenerate
    assert unit(found) == (1, 2, 3, 4, 5)


def test_each_candidate_is_decoded_in_its_own_context() -> None:
    decoder = ScriptedDecoder(lambda prompt: [(prompt[0], 0.9)] * 3 + [(2, 0.9)] * 4 + [(END, 1.0)] * 20)
    run = Confirmation(SETTINGS, [[5], [6]], [candidate(context=1), candidate(context=0)], frozenset({END}))
    first, second = run.run(decoder)
    assert first.tokens[1] == 6
    assert second.tokens[1] == 5
    assert run.done == 2
