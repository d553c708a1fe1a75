"""What an engine may say: numbers."""

from __future__ import annotations

import math

import pytest

from tokenforce_core.decoder import NEVER, NotNumbers, numbers


def test_log_probabilities_are_finite() -> None:
    assert numbers([0.0, -2.5, -1e9, -math.inf]) == [0.0, -2.5, NEVER, NEVER]
    assert numbers([]) == []


def test_what_is_no_number_is_an_error() -> None:
    with pytest.raises(NotNumbers):
        numbers([-1.0, math.nan])
