"""Contrast statistics against their definitions."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table_model import VOCABULARY
from tokenforce_core.contrast.statistics import bounded, divergence, plausible_log_ratio, robust_z
from tokenforce_core.forcing.scoring import contrast_score
from tokenforce_core.plan.search_settings import SEARCH

TOP = SEARCH.entries.next_tokens
SHARE = SEARCH.entries.plausible_share
NOISE = SEARCH.entries.z_noise_nats

rows = st.lists(st.floats(-12, 0), min_size=TOP, max_size=TOP)


@given(rows, rows)
def test_the_divergence_is_its_definition(target: list[float], reference: list[float]) -> None:
    p, q = np.asarray([target], np.float32), np.asarray([reference], np.float32)
    expected = sum(math.exp(a) * (a - b) for a, b in zip(target, reference, strict=True))
    assert math.isclose(divergence(p, q)[0], expected, rel_tol=1e-3, abs_tol=1e-3)


@given(rows, rows)
def test_only_plausible_tokens_count_for_the_log_ratio(target: list[float], reference: list[float]) -> None:
    ratio, column = plausible_log_ratio(np.asarray([target], np.float32), np.asarray([reference], np.float32), SHARE)
    assert target[column[0]] >= max(target) + math.log(SHARE) - 1e-5
    assert math.isclose(ratio[0], target[column[0]] - reference[column[0]], rel_tol=1e-4, abs_tol=1e-4)


@given(st.integers(0, 1000))
def test_bounds_are_never_under_the_truth(seed: int) -> None:
    """What a model's top tokens leave out is at most as probable as the last of them."""
    draw = np.random.default_rng(seed)
    logs = np.log(draw.dirichlet(np.full(VOCABULARY, 0.3), size=4) + 1e-9).astype(np.float32)
    ids = np.argsort(-logs, axis=1)[:, :TOP].astype(np.int32)
    top = np.take_along_axis(logs, ids, axis=1)
    wanted = draw.permuted(np.tile(np.arange(VOCABULARY, dtype=np.int32), (4, 1)), axis=1)[:, :TOP]
    truth = np.take_along_axis(logs, wanted, axis=1)
    found = bounded(wanted, ids, top)
    assert (found >= truth - 1e-6).all()
    among = (wanted[:, :, None] == ids[:, None, :]).any(axis=2)
    assert np.array_equal(found[among], truth[among])


def test_a_z_score_is_robust_to_the_outlier_that_it_measures() -> None:
    values = np.asarray([*np.linspace(0.9, 1.1, 99), 50.0], np.float32)
    assert robust_z(values, values, NOISE)[-1] > 500
    assert abs(float(np.median(robust_z(values, values, NOISE)))) < 0.1
    assert np.isfinite(robust_z(np.ones(5, np.float32), np.ones(5, np.float32), NOISE)).all()


def test_the_contrast_of_what_both_say_is_nothing() -> None:
    assert contrast_score([-0.1, -0.2], [-0.1, -0.2]) == 0
    assert contrast_score([], []) == 0
    assert contrast_score([-0.01], [-5.0]) > 4.8
