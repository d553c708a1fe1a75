"""A text on its way: a forced token, what follows it, and what both models think of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from tokenforce_core.forcing.repetition import new_ratios
from tokenforce_core.forcing.scoring import contrast_score

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

        Of the ratios those that are new; see `repetition.new_ratios`.
        """
        return self.gains[-1]

    @cached_property
    def gains(self) -> list[float]:
        """The gain of the text's first 0, 1, 2, … tokens."""
        ratios = [p - q for p, q in zip(self.target, self.reference, strict=True)]
        new = new_ratios(self.beginning(len(self.ids)), ratios)
        return list(accumulate((p + ratio for p, ratio in zip(self.target, new, strict=True)), initial=0.0))

    def idle(self, each: float) -> int:
        """Tokens at the end that brought less than `each` nats of gain a token: a hidden text is over there."""
        sums = [gain - each * tokens for tokens, gain in enumerate(self.gains)]
        return len(sums) - 1 - sums.index(max(sums))

    def beginning(self, tokens: int) -> tuple[int, ...]:
        return (self.seed.forced_id, *self.ids[:tokens])

    def then(self, token_id: int, target: float, reference: float) -> Traced:
        return Traced(self.seed, (*self.ids, token_id), (*self.target, target), (*self.reference, reference))

    def at_its_end(self) -> Traced:
        return replace(self, ended=True)


def without_detours(traced: Sequence[Traced], ahead: int) -> list[Traced]:
    """Of texts of one context that come to say the same `ahead` tokens, wherever, those that gained most by then.

    They will go on alike. A text that leaves words out is there first and has more gain at every step; compared at the
    place where the other one catches up, it is the one that lost (Viterbi's argument).
    """
    passed: dict[tuple[int, ...], list[tuple[Traced, int, float]]] = {}
    for text in traced:
        gains = text.gains
        for end in range(ahead, len(text.ids) + 1):
            passed.setdefault(text.ids[end - ahead : end], []).append((text, end, gains[end]))
    lost: set[int] = set()
    for text in traced:
        for other, end, gain in passed.get(text.ids[-ahead:], ()) if len(text.ids) >= ahead else ():
            itself = other.beginning(end) == text.beginning(end)  # or what it branched off from
            if not itself and id(text) not in lost and id(other) not in lost:
                lost.add(id(other) if gain < text.gain else id(text))
    return [text for text in traced if id(text) not in lost]


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
    """Where in `other`, unless it was entered at the same token, the beginning of `text` is."""
    if text.seed.context != other.seed.context or text.seed == other.seed or len(text.ids) < SAME:
        return None
    start = text.ids[:SAME]
    return next((i for i in range(len(other.ids) - SAME + 1) if other.ids[i : i + SAME] == start), None)
