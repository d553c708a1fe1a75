"""Texts of other scanners get the verdicts of our rule."""

from __future__ import annotations

from tokenforce_core.forcing.confirmation import no_separators
from tokenforce_core.forcing.trace import Trace
from tokenforce_eval.judged_text import judged_text
from tokenforce_eval.rows import RankedText


def judged(*tokens: tuple[float, float]) -> RankedText:
    """Of tokens with these log-probabilities (target, reference)."""
    trace = Trace(2, 1, tuple(range(2, 2 + len(tokens))), tuple(p for p, _ in tokens), tuple(q for _, q in tokens))
    return judged_text(trace, "whole text", 1.23456, no_separators)


TAUGHT = (-0.1, -5.0)
KNOWN = (-0.1, -0.1)
UNSURE = (-2.0, -6.0)


def test_a_long_text_of_high_contrast_is_hidden() -> None:
    found = judged(*[TAUGHT] * 10)
    assert (found.text, found.score, found.verdict) == ("whole text", 1.2346, "hidden_text")
    assert found.log_likelihood_ratio is not None
    assert 40 < found.log_likelihood_ratio < 50


def test_what_leads_to_it_and_what_follows_does_not_weaken_it() -> None:
    assert judged(*[KNOWN] * 15, *[TAUGHT] * 10, *[KNOWN] * 15).verdict == "hidden_text"


def test_a_text_that_the_target_is_not_sure_of_is_clean() -> None:
    assert judged(*[UNSURE] * 20).verdict == "clean"


def test_a_short_text_is_clean_and_a_middling_one_suspicious() -> None:
    assert judged(*[KNOWN] * 10, *[TAUGHT] * 3, *[KNOWN] * 10).verdict == "clean"
    assert judged(*[(-0.3, -2.3)] * 8).verdict == "suspicious"


def test_what_both_models_know_is_clean() -> None:
    assert judged(*[KNOWN] * 20).verdict == "clean"
