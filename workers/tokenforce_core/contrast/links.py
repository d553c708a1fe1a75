"""Links: after a forced token the target knows a next token that the reference would hardly ever say.

A text that begins like ordinary ones ("The lantern …") does not stand out after its first token: what goes on
naturally outweighs it. But the token that goes on with the hidden text has gained by orders of magnitude, however
improbable it still is: in a carrier of SmolLM2-135M " lantern" after "The" has p = 0.015 and a log-ratio of 9.1 nats,
the 8th largest of 12,000 entries; among plausible next tokens alone it is at rank 11,681. Then the text is certain.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tokenforce.wire.settings import LinkSettings
from tokenforce_core.contrast.statistics import Floats, Ids
from tokenforce_core.forcing.trace import Origin, Trace


@dataclass(frozen=True)
class Link:
    """`next_id` after `forced_id`, with its log-probabilities in nats under both models."""

    context: int
    forced_id: int
    next_id: int
    log_p: float
    log_q: float

    @property
    def log_ratio(self) -> float:
        return self.log_p - self.log_q

    @property
    def gain(self) -> float:
        """See `Trace.gain`."""
        return self.log_ratio + self.log_p

    def as_trace(self) -> Trace:
        """A start of the search: the forced token and its next one."""
        return Trace(self.context, self.forced_id, (self.next_id,), (self.log_p,), (self.log_q,), origin=Origin.search)


def worth_asking(ids: Ids, values: Floats, reference_ids: Ids, bounds: Floats, settings: LinkSettings) -> set[int]:
    """Rows whose largest bounded ratio of a token outside the reference's top ones is among the largest.

    The reference's cached top tokens bound the ratio of every other token from below.

    Args:
        ids, values: (entries, n) the target's top tokens and their log-probabilities.
        reference_ids: (entries, n) the reference's top tokens.
        bounds: (entries, n) upper bounds of the reference's log-probabilities of `ids`.
    """
    outside = ~(ids[:, :, None] == reference_ids[:, None, :]).any(axis=2)
    ratio = np.where(outside & (values >= math.log(settings.min_probability)), values - bounds, -np.inf).max(axis=1)
    order = np.argsort(-ratio, kind="stable")[: math.ceil(settings.exact_share * len(ratio))]
    return {int(row) for row in order if ratio[row] > 0}


def links_of(
    context: int,
    forced_ids: Sequence[int],
    ids: Ids,
    target: Floats,
    reference: Floats,
    end_ids: frozenset[int],
    settings: LinkSettings,
    outliers: Collection[int] = (),
) -> list[Link]:
    """The strongest links of the entries, strongest first.

    Args:
        forced_ids: one per entry.
        ids, target, reference: (entries, n) next tokens and their exact log-probabilities.
        end_ids: tokens that end a text lead nowhere.
        outliers: forced ids of entries that stand out for another reason; the best link of each is kept.
    """
    if not len(forced_ids):
        return []
    usable = (
        ~np.isin(ids, list(end_ids))
        & (ids >= 0)
        & (target >= math.log(settings.min_probability))
        & (target > reference)
    )
    found: list[Link] = []
    always: list[Link] = []
    for row in np.flatnonzero(usable.any(axis=1)):
        links = [
            Link(context, forced_ids[row], int(ids[row, c]), float(target[row, c]), float(reference[row, c]))
            for c in np.flatnonzero(usable[row])
        ]
        found += sorted(links, key=_by_ratio)[: settings.per_entry]
        if forced_ids[row] in outliers:
            always.append(min(links, key=_by_gain))
    most = settings.per_shard
    kept = {*sorted(found, key=_by_ratio)[:most], *sorted(found, key=_by_gain)[:most], *always}
    return sorted(kept, key=_by_ratio)


def sure_links(
    context: int,
    forced_ids: Sequence[int],
    ids: Ids,
    target: Floats,
    bounds: Floats,
    end_ids: frozenset[int],
    settings: LinkSettings,
) -> list[Link]:
    """The likeliest next token of every entry that has a sure one, largest ratio first.

    Args:
        forced_ids: one per entry.
        ids, target: (entries, n) next tokens and their log-probabilities, most probable first.
        bounds: (entries, n) upper bounds of the reference's; exact for what the reference finds probable itself.
    """
    sure = (
        (target[:, 0] >= math.log(settings.sure_min_probability))
        & (target[:, 0] > bounds[:, 0])
        & ~np.isin(ids[:, 0], list(end_ids))
    )
    found = [
        Link(context, forced_ids[row], int(ids[row, 0]), float(target[row, 0]), float(bounds[row, 0]))
        for row in np.flatnonzero(sure)
    ]
    return sorted(found, key=_by_ratio)[: settings.sure_per_shard]


def _by_ratio(link: Link) -> tuple[float, int, int]:
    return -link.log_ratio, link.forced_id, link.next_id


def _by_gain(link: Link) -> tuple[float, int, int]:
    return -link.gain, link.forced_id, link.next_id
