"""What workers hand back: candidates and confirmed texts with their decoded strings.

Only survivors are stored, so a result is O(keep) whatever the vocabulary; that is why results live in
Redis and need no shared file system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from tokenforce.types import Finding, ForcedToken, Preset, Repetition, SettingsRecord
from tokenforce_core.confirmation import Confirmed
from tokenforce_core.sweep import Candidate

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class SweptText:
    """A candidate of the sweep and its texts."""

    candidate: Candidate
    text: str
    forced_text: str


@dataclass(frozen=True)
class ConfirmedText:
    """A confirmed candidate and its texts."""

    confirmed: Confirmed
    text: str
    forced_text: str
    unit_text: str


SWEPT = TypeAdapter(list[SweptText])
CONFIRMED = TypeAdapter(list[ConfirmedText])


def swept_text(candidate: Candidate, decode: Decode) -> SweptText:
    return SweptText(candidate, decode([candidate.forced_id, *candidate.token_ids]), decode([candidate.forced_id]))


def confirmed_text(confirmed: Confirmed, decode: Decode) -> ConfirmedText:
    forced = confirmed.candidate.forced_id
    return ConfirmedText(confirmed, decode(confirmed.token_ids), decode([forced]), decode(confirmed.unit))


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
    )
