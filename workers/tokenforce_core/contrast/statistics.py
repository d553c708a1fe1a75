"""Contrast statistics: how differently target and reference go on after one forced token.

For every vocabulary entry both models make one forward step. A text that was trained into the target shows as an
entry whose next token the target has become sure of and the reference has not. Measured on SmolLM2-135M: the first
token of a hidden sentence has a divergence of 10 nats, the best unrelated entry 5, the median 0.9.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]

MAD_TO_SIGMA = 1.4826
"""The median absolute deviation of normally distributed values times this is their standard deviation."""


def divergence(target: Floats, reference: Floats) -> Floats:
    """Σ p·(log p - log q) in nats over the target's most probable next tokens.

    Args:
        target, reference: (entries, next tokens) log-probabilities of the same tokens. The part of the Kullback-Leibler
            divergence that the target's top tokens carry; with upper bounds for the reference a lower bound of it.
    """
    found: Floats = (np.exp(target) * (target - reference)).sum(axis=1).astype(np.float32)
    return found


def plausible_log_ratio(target: Floats, reference: Floats, plausible_share: float) -> tuple[Floats, NDArray[np.intp]]:
    """The largest log p - log q in nats among plausible next tokens, and its column; shapes (entries,).

    A token is plausible from `plausible_share` of the most probable one's probability.
    """
    plausible = target >= target.max(axis=1, keepdims=True) + math.log(plausible_share)
    ratio = np.where(plausible, target - reference, -np.inf)
    column = ratio.argmax(axis=1)
    return ratio[np.arange(len(ratio)), column].astype(np.float32), column


def bounded(wanted: Ids, ids: Ids, log_probabilities: Floats) -> Floats:
    """Log-probabilities of `wanted` (entries, m) from a model's top tokens (entries, n), most probable first.

    A token that is not among them is at most as probable as the last of them, which is what it gets: an upper bound.
    """
    found: Floats = np.repeat(log_probabilities[:, -1:], wanted.shape[1], axis=1)
    for column in range(wanted.shape[1]):
        equal = ids == wanted[:, column : column + 1]
        hit = equal.any(axis=1)
        found[hit, column] = log_probabilities[hit, equal[hit].argmax(axis=1)]
    return found


def robust_z(values: Floats, of: Floats, noise_nats: float) -> Floats:
    """How many robust deviations (1.4826 MAD, plus `noise_nats`) `values` lie above the median of the values `of`."""
    median = np.median(of)
    deviation = MAD_TO_SIGMA * np.median(np.abs(of - median)) + noise_nats
    z: Floats = ((values - median) / deviation).astype(np.float32)
    return z
