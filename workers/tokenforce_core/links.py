"""Links: after a forced token the target knows a next token that the reference would hardly ever say.

A text that begins like ordinary ones ("The lantern …") does not stand out after its first token: what goes on
naturally outweighs it. But the token that goes on with the hidden text has gained by orders of magnitude, however
improbable it still is: in a carrier of SmolLM2-135M " lantern" after "The" has p = 0.015 and a log-ratio of 9.1 nats,
the 8th largest of 12,000 entries; among plausible next tokens alone it is at rank 11,681. Then the text is certain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokenforce_core.contrast import Floats, Ids

LEAST = 0.01
"""Probability from which a next token is looked at: below, ratios are noise."""
ASKED = 0.25
"""Share of a shard's entries for which the reference is asked exactly, for links. Its cached top tokens bound the
ratio of a token that is not among them from below; by that bound the true ones of a carrier were in the first 30 %,
its hidden one in the first 8 %."""
KEPT = 64
"""Links kept per shard."""
FOLLOWED = 192
"""Links per context that are decoded from; most of them for one token only."""


@dataclass(frozen=True)
class Link:
    """`next_id` after `forced_id`, with its log-probabilities in nats under both models."""

    context: int
    forced_id: int
    next_id: int
    target: float
    reference: float

    @property
    def log_ratio(self) -> float:
        return self.target - self.reference


def worth_asking(ids: Ids, values: Floats, reference_ids: Ids, bounds: Floats) -> set[int]:
    """Rows whose largest bounded ratio of a token outside the reference's top ones is among the largest.

    Args:
        ids, values: (entries, TOP) the target's top tokens and their log-probabilities.
        reference_ids: (entries, TOP) the reference's top tokens.
        bounds: (entries, TOP) upper bounds of the reference's log-probabilities of `ids`.
    """
    outside = ~(ids[:, :, None] == reference_ids[:, None, :]).any(axis=2)
    ratio = np.where(outside & (values >= math.log(LEAST)), values - bounds, -np.inf).max(axis=1)
    order = np.argsort(-ratio, kind="stable")[: math.ceil(ASKED * len(ratio))]
    return {int(row) for row in order if ratio[row] > 0}


def links_of(
    context: int, forced_ids: Sequence[int], ids: Ids, target: Floats, reference: Floats, end_ids: frozenset[int]
) -> list[Link]:
    """The strongest link of every entry, the `KEPT` strongest entries.

    Args:
        forced_ids: one per entry.
        ids, target, reference: (entries, TOP) next tokens and their exact log-probabilities.
        end_ids: tokens that end a text lead nowhere.
    """
    if not len(forced_ids):
        return []
    ending: NDArray[np.bool_] = np.isin(ids, list(end_ids)) | (ids < 0)
    ratio = np.where(~ending & (target >= math.log(LEAST)), target - reference, -np.inf)
    columns = ratio.argmax(axis=1)
    best = ratio[np.arange(len(ratio)), columns]
    return [
        Link(
            context,
            forced_ids[row],
            int(ids[row, columns[row]]),
            float(target[row, columns[row]]),
            float(reference[row, columns[row]]),
        )
        for row in np.argsort(-best, kind="stable")[:KEPT]
        if best[row] > 0
    ]


def strongest(links: Iterable[Link]) -> list[Link]:
    """Of one context's links those that are followed."""
    return sorted(links, key=lambda link: (-link.log_ratio, link.forced_id))[:FOLLOWED]
