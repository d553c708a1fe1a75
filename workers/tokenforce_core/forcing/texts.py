"""What workers hand back: candidates and confirmed texts with their decoded strings.

Only survivors are stored, so a result is O(keep) whatever the vocabulary; that is why results live in
Redis and need no shared file system.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from tokenforce.wire.findings import Finding, ForcedToken, Repetition
from tokenforce.wire.scans import Preset, SettingsRecord
from tokenforce_core.contrast.statistics import contrast_score
from tokenforce_core.forcing.confirmation import Confirmed
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


def swept_finding(swept: SweptText, contexts: Sequence[str]) -> Finding:
    """A sweep candidate as a provisional finding; its rank is set by `ranking.ranked`."""
    candidate = swept.candidate
    return Finding(
        rank=1,
        text=swept.text,
        token_ids=[candidate.forced_id, *candidate.token_ids],
        token_probabilities=list(candidate.probabilities),
        mean_probability=sum(candidate.probabilities) / len(candidate.probabilities),
        sweep_score=candidate.score,
        score=candidate.score,
        repetition=Repetition(period=0, unit="", share=0.0),
        context=contexts[candidate.context],
        forced_token=ForcedToken(id=candidate.forced_id, text=swept.forced_text),
        ended=candidate.ended,
        confirmed=False,
    )


def confirmed_finding(item: ConfirmedText, contexts: Sequence[str], settings: SettingsRecord) -> Finding:
    """A confirmed candidate as a finding; its rank is set by `ranking.ranked`.

    A text has to hold up both at its start, where nothing can be copied from the context, and over its
    whole length: counting ("1, 2, 3, …") starts unsure and grows certain, a natural answer the other way
    round. So the lower of the two means is its score. The paper ranks by phase 1 alone.
    """
    confirmed = item.confirmed
    swept = confirmed.candidate.score
    score = swept if settings.preset == Preset.paper else min(swept, confirmed.mean_probability)
    return Finding(
        rank=1,
        text=item.text,
        token_ids=list(confirmed.token_ids),
        token_probabilities=list(confirmed.probabilities),
        mean_probability=confirmed.mean_probability,
        sweep_score=swept,
        score=score,
        repetition=Repetition(
            period=confirmed.period.period, unit=item.unit_text, share=min(1.0, confirmed.period.share)
        ),
        context=contexts[confirmed.candidate.context],
        forced_token=ForcedToken(id=confirmed.candidate.forced_id, text=item.forced_text),
        ended=confirmed.ended,
        confirmed=True,
        degenerate=confirmed.degenerate,
        contrast=item.contrast if item.reference else None,
        log_likelihood_ratio=sum(item.log_ratios) if item.reference else None,
        reference_probabilities=list(item.reference),
    )
