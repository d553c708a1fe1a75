"""Mean token probability of a forced sequence, and how high it can still get.

Unconditional Token Forcing (arXiv 2406.02481, Algorithm 1) scores a sequence by the mean of its token
probabilities. Two readings of it exist, and `SettingsRecord` chooses between them:

- ours: only the generated content tokens count, and at least `min_tokens` of them must exist;
- the authors' notebook: the forced token counts as one more token of probability 1.0, and text goes
  on through end-of-text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tokenforce.wire.settings import SettingsRecord

SLACK = 1e-12
"""Room for rounding when a bound is compared with a score that was summed in another order."""


def score(probabilities: Sequence[float], settings: SettingsRecord) -> float | None:
    """Mean token probability of the content tokens, or None when there are too few of them."""
    if len(probabilities) < settings.min_tokens:
        return None
    return mean(sum(probabilities), len(probabilities), settings)


def mean(total: float, count: int, settings: SettingsRecord) -> float:
    """`total / count`, with the forced token as one more 1.0 if the settings say so."""
    forced = 1 if settings.count_forced_token else 0
    return (forced + total) / (forced + count)


def highest_reachable(total: float, count: int, settings: SettingsRecord) -> float:
    """The largest score that a sequence can still reach: every token up to α has probability 1.

    Ending early cannot do better, since adding ones only raises a mean. So a sequence whose bound is
    under the threshold can be dropped and the result stays the same.
    """
    return mean(total + (settings.alpha - count), settings.alpha, settings)


def contrast_score(target: Sequence[float], reference: Sequence[float]) -> float:
    """Mean of p·(log p - log q) over a continuation's tokens, in nats per token.

    High only where the target is sure of what the reference would not say: memorised boilerplate has a small ratio,
    a surprising turn of a fine-tuned style a small p. Hidden sentences in SmolLM2-135M: 3 to 5; other texts under 1.

    Args:
        target, reference: log-probabilities (nats) that the two models give the same tokens, teacher-forced.
    """
    if not target:
        return 0.0
    return sum(math.exp(p) * (p - q) for p, q in zip(target, reference, strict=True)) / len(target)
