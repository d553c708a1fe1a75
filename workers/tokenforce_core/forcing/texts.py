"""What workers hand back: candidates and confirmed texts with their decoded strings.

Only survivors are stored, so a result is O(keep) whatever the vocabulary; that is why results live in
Redis and need no shared file system.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from tokenforce_core.forcing.confirmation import Confirmed
from tokenforce_core.forcing.scoring import contrast_score
from tokenforce_core.forcing.sweep import Candidate

Decode = Callable[[Sequence[int]], str]

TINY = 1e-30
"""Probabilities under it count as it: engines round the smallest to 0."""


@dataclass(frozen=True)
class SweptText:
    """A candidate of the sweep and its texts."""

    candidate: Candidate
    text: str
    forced_text: str


@dataclass(frozen=True)
class ConfirmedText:
    """A confirmed candidate, its texts, and what the reference makes of it.

    `reference` are the reference's probabilities of the same tokens (empty without one); `by_contrast` tells
    that contrastive decoding chose the tokens, so that they need not be the most probable ones.
    """

    confirmed: Confirmed
    text: str
    forced_text: str
    unit_text: str
    reference: tuple[float, ...] = ()
    by_contrast: bool = False

    @property
    def log_ratios(self) -> list[float]:
        """log p - log q per token, in nats."""
        if not self.reference:
            return []
        return [p - q for p, q in zip(logs(self.confirmed.probabilities), logs(self.reference), strict=True)]

    @property
    def contrast(self) -> float:
        """See `contrast.contrast_score`; 0 without a reference."""
        if not self.reference:
            return 0.0
        return contrast_score(logs(self.confirmed.probabilities), logs(self.reference))


def logs(probabilities: Sequence[float]) -> list[float]:
    """Log-probabilities in nats, none under that of `TINY`."""
    return [math.log(max(p, TINY)) for p in probabilities]


SWEPT = TypeAdapter(list[SweptText])
CONFIRMED = TypeAdapter(list[ConfirmedText])


def swept_text(candidate: Candidate, decode: Decode) -> SweptText:
    return SweptText(candidate, decode([candidate.forced_id, *candidate.token_ids]), decode([candidate.forced_id]))


def confirmed_text(
    confirmed: Confirmed, decode: Decode, reference: tuple[float, ...] = (), *, by_contrast: bool = False
) -> ConfirmedText:
    forced = confirmed.candidate.forced_id
    return ConfirmedText(
        confirmed,
        decode(confirmed.token_ids),
        decode([forced]),
        decode(confirmed.unit),
        reference[: len(confirmed.probabilities)],
        by_contrast,
    )
