"""What an engine may say: numbers."""

from __future__ import annotations

import math

import pytest

from tests.support.scripted_decoder import ScriptedDecoder
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.forcing.confirmation import Confirmation
from tokenforce_core.forcing.predictor import NEVER, NotNumbers, refuse_nans
from tokenforce_core.forcing.sweep import Sweep
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.presets import settings_for


def test_log_probabilities_are_finite() -> None:
    assert refuse_nans([0.0, -2.5, -1e9, -math.inf]) == [0.0, -2.5, NEVER, NEVER]
    assert refuse_nans([]) == []


def test_what_is_no_number_is_an_error() -> None:
    with pytest.raises(NotNumbers):
        refuse_nans([-1.0, math.nan])


def test_a_sweep_sees_that_a_token_that_ends_a_text_has_no_probability() -> None:
    """Of logits that are all NaN the token chosen is often 0, which ends the text of many a tokenizer."""
    decoder = ScriptedDecoder(lambda _: [(0, math.nan)])
    settings = settings_for(ScanRequest(model="/m"))
    with pytest.raises(NotNumbers):
        Sweep(settings, 0, [1], [5], frozenset({0})).run(decoder)
    candidate = Trace(0, 5, (7,), (-0.1,), sweep_score=0.9)
    with pytest.raises(NotNumbers):
        Confirmation(settings, [[1]], [candidate], frozenset({0})).run(decoder)
