"""Put a text together from its versions: one is right where another went astray.

Of one message of 45 tokens the search said "… the second notary works for Denmark, the seal on page nine …", "… before
July 4: the second notary works for the shipyard, …" and "… the seal on page nine is a copy, and I'm sorry". So it
searches once more, only from token to token as some version goes, and asks with all that stands before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from tokenforce_core.traced import Traced

STRONG = 1.5
"""Contrast score (nats per token) from which a text is worth putting together."""
MOST_BEGUN = 3
"""Beginnings of a context that are tried."""

Edges = Mapping[tuple[int, int], frozenset[int]]
"""By context and token: what has followed it."""


def edges_of(texts: Sequence[Traced]) -> Edges:
    followers: dict[tuple[int, int], set[int]] = {}
    for text in texts:
        for one, after in pairwise(text.beginning(len(text.ids))):
            followers.setdefault((text.seed.context, one), set()).add(after)
    return {place: frozenset(ids) for place, ids in followers.items()}


def beginnings_of(texts: Sequence[Traced]) -> list[Traced]:
    """The beginnings of the strong texts that have gained most, each with its first link."""
    kept: dict[tuple[int, tuple[int, ...]], Traced] = {}
    for text in sorted(texts, key=lambda t: (-max(t.gains), t.seed.context, t.seed.forced_id, t.ids)):
        if text.score >= STRONG and sum(place[0] == text.seed.context for place in kept) < MOST_BEGUN:
            kept.setdefault((text.seed.context, text.beginning(1)), text.first(1))
    return list(kept.values())
