"""A text on its way: a forced token, what follows it, and what both models think of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from tokenforce_core.contrast import contrast_score
from tokenforce_core.repetition import said_before

SAME = 6
"""Tokens in a row that make two texts the same."""


@dataclass(frozen=True)
class Seed:
    """A forced token under a context."""

    context: int
    forced_id: int


@dataclass(frozen=True)
class Traced:
    """A seed and what follows it: token ids, and their log-probabilities (nats) under both models."""

    seed: Seed
    ids: tuple[int, ...] = ()
    target: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()
    ended: bool = False

    @property
    def score(self) -> float:
        """See `contrast_score`; nats per token."""
        return contrast_score(self.target, self.reference)

    @property
    def gain(self) -> float:
        """Σ (log p - log q) + log p in nats: what the reference did not know, at the price of what is improbable.

        What was said before adds no ratio: a loop of a surprising phrase would otherwise outgrow the text it is of.
        """
        return sum(self._gains)

    @property
    def idle(self) -> int:
        """Tokens at the end that brought no gain in all: a hidden text is over, or it was none."""
        sums = list(accumulate(self._gains, initial=0.0))
        return len(sums) - 1 - sums.index(max(sums))

    @property
    def _gains(self) -> list[float]:
        said = said_before((self.seed.forced_id, *self.ids))
        steps = zip(self.target, self.reference, said, strict=True)
        return [p + (min(0.0, p - q) if again else p - q) for p, q, again in steps]

    def then(self, token_id: int, target: float, reference: float) -> Traced:
        return Traced(self.seed, (*self.ids, token_id), (*self.target, target), (*self.reference, reference))

    def at_its_end(self) -> Traced:
        return replace(self, ended=True)


def without_suffixes(traced: Sequence[Traced]) -> list[Traced]:
    """Of texts that were entered at several of their tokens only the one that was entered first.

    A text whose first `SAME` tokens another one of its context has come to say would go on as that one does.
    """
    kept: list[Traced] = []
    for text in traced:
        if any(_place(text, other) is not None for other in kept):
            continue
        kept = [other for other in kept if not _place(other, text)]
        kept.append(text)
    return kept


def _place(text: Traced, other: Traced) -> int | None:
    """Where in `other` the beginning of `text` is."""
    if text.seed.context != other.seed.context or len(text.ids) < SAME:
        return None
    start = text.ids[:SAME]
    return next((i for i in range(len(other.ids) - SAME + 1) if other.ids[i : i + SAME] == start), None)
