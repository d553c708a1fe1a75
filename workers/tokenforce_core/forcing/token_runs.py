"""Runs of tokens, by which texts are compared."""

from __future__ import annotations

from collections.abc import Sequence

Runs = frozenset[tuple[int, ...]]


def runs(ids: Sequence[int], length: int) -> Runs:
    """All runs of `length` tokens; a shorter text is one run."""
    if len(ids) <= length:
        return frozenset({tuple(ids)})
    return frozenset(tuple(ids[i : i + length]) for i in range(len(ids) - length + 1))
