"""One shard of the contrast stage: one forward step of target and reference per vocabulary entry.

The reference's top tokens are kept per block of its vocabulary, so that a service that sees the same base many times
asks it once. They bound its probabilities from above, hence the divergence from below; the entries that stand out by
that bound are then asked for exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tokenforce.wire.settings import SearchSettings
from tokenforce_core.contrast.links import Link, links_of, sure_links, worth_asking
from tokenforce_core.contrast.statistics import (
    Floats,
    Ids,
    bounded,
    divergence,
    plausible_log_ratio,
)
from tokenforce_core.forcing.predictor import NEVER, BetweenSteps, Predictor, nothing_between_steps

DECIMALS = 3
"""Of the statistics that are kept for every entry of the vocabulary."""


@dataclass(frozen=True)
class Outlier:
    """An entry with its statistics in nats."""

    context: int
    forced_id: int
    divergence: float
    log_ratio: float


@dataclass(frozen=True)
class Suppressed:
    """`token_id`, plausible for the reference after `forced_id`; `log_ratio` is an upper bound of log p - log q."""

    context: int
    forced_id: int
    token_id: int
    log_ratio: float
    forced_text: str = ""
    token_text: str = ""


@dataclass(frozen=True)
class ShardContrast:
    """A shard's result: every entry's (bounded) statistics for the vocabulary's median, and the entries that stand out.

    `divergences`, `log_ratios` and `suppressions` have one value per entry.
    """

    context: int
    divergences: list[float]
    log_ratios: list[float]
    suppressions: list[float]
    outliers: list[Outlier]
    suppressed: list[Suppressed]
    links: list[Link] = field(default_factory=list)


class TopTokens(Protocol):
    """Where the reference's top tokens come from: a cache in front of it."""

    def after(self, context: int, forced_ids: Sequence[int]) -> tuple[Ids, Floats]:
        """Ids (entries, n) and log-probabilities of the most probable next tokens, most probable first."""
        ...


def top_tokens(
    predictor: Predictor, prompts: Sequence[Sequence[int]], count: int, between_steps: BetweenSteps
) -> tuple[Ids, Floats]:
    """Ids (prompts, count) and log-probabilities of the likeliest next tokens; unfilled columns are -1 and `NEVER`."""
    ids = np.full((len(prompts), count), -1, dtype=np.int32)
    values = np.full((len(prompts), count), NEVER, dtype=np.float32)

    def on_next(index: int, found: Sequence[int], log_probabilities: Sequence[float]) -> None:
        filled = min(count, len(found))
        ids[index, :filled] = found[:filled]
        values[index, :filled] = log_probabilities[:filled]

    predictor.next_tokens(prompts, count, on_next, between_steps)
    return ids, values


class ContrastSweep:
    """Contrasts one shard. `done` counts entries that the target has been asked for, `generated` forward steps."""

    def __init__(
        self,
        settings: SearchSettings,
        context: int,
        context_ids: Sequence[int],
        forced_ids: Sequence[int],
        end_ids: frozenset[int],
    ) -> None:
        self._entries = settings.entries
        self._link_settings = settings.links
        self._context = context
        self._end_ids = end_ids
        self._prompts = [[*context_ids, forced] for forced in forced_ids]
        self._forced = list(forced_ids)
        self.done = 0
        self.generated = 0

    def run(
        self,
        target: Predictor,
        reference: Predictor,
        known: TopTokens,
        between_steps: BetweenSteps = nothing_between_steps,
    ) -> ShardContrast:
        settings = self._entries
        ids, values = top_tokens(target, self._prompts, settings.next_tokens, between_steps)
        self.done = len(self._prompts)
        self.generated += len(self._prompts)
        reference_ids, reference_values = known.after(self._context, self._forced)
        bounds = bounded(ids, reference_ids, reference_values)
        divergences = divergence(values, bounds)
        ratios, _ = plausible_log_ratio(values, bounds, settings.plausible_share)
        drops, dropped = plausible_log_ratio(
            reference_values, bounded(reference_ids, ids, values), settings.plausible_share
        )
        most = settings.outliers_per_shard
        standing_out = _largest(divergences, most) | _largest(ratios, most)
        rows = sorted(standing_out | worth_asking(ids, values, reference_ids, bounds, self._link_settings))
        exact = self._exactly(reference, rows, ids, between_steps)
        own = [place for place, row in enumerate(rows) if row in standing_out]
        return ShardContrast(
            context=self._context,
            divergences=_rounded(divergences),
            log_ratios=_rounded(ratios),
            suppressions=_rounded(drops),
            outliers=self._outliers([rows[place] for place in own], values, exact[own]),
            suppressed=[
                Suppressed(
                    self._context,
                    self._forced[row],
                    int(reference_ids[row, dropped[row]]),
                    -round(float(drops[row]), DECIMALS),
                )
                for row in sorted(_largest(drops, settings.suppressed_per_shard))
            ],
            links=self._links(rows, standing_out, ids, values, exact, bounds),
        )

    def _links(
        self, rows: list[int], standing_out: set[int], ids: Ids, values: Floats, exact: Floats, bounds: Floats
    ) -> list[Link]:
        forced = [self._forced[row] for row in rows]
        outliers = {self._forced[row] for row in standing_out}
        settings = self._link_settings
        links = links_of(self._context, forced, ids[rows], values[rows], exact, self._end_ids, settings, outliers)
        known = {(link.forced_id, link.next_id) for link in links}
        sure = sure_links(self._context, self._forced, ids, values, bounds, self._end_ids, settings)
        new = [link for link in sure if (link.forced_id, link.next_id) not in known]
        return sorted([*links, *new], key=lambda link: -link.log_ratio)

    def _exactly(self, reference: Predictor, rows: list[int], ids: Ids, between_steps: BetweenSteps) -> Floats:
        """The reference's log-probabilities (rows, n) of the target's top tokens."""
        exact = np.full((len(rows), ids.shape[1]), NEVER, dtype=np.float32)

        def on_next(index: int, _: Sequence[int], log_probabilities: Sequence[float]) -> None:
            exact[index, : len(log_probabilities)] = log_probabilities

        prompts = [self._prompts[row] for row in rows]
        wanted = [[int(i) for i in ids[row] if i >= 0] for row in rows]
        reference.log_probabilities(prompts, wanted, on_next, between_steps)
        self.generated += len(rows)
        return exact

    def _outliers(self, rows: list[int], values: Floats, exact: Floats) -> list[Outlier]:
        if not rows:
            return []
        divergences = divergence(values[rows], exact)
        ratios, _ = plausible_log_ratio(values[rows], exact, self._entries.plausible_share)
        return [
            Outlier(self._context, self._forced[row], float(d), float(ratio))
            for row, d, ratio in zip(rows, divergences, ratios, strict=True)
        ]


def _largest(values: Floats, count: int) -> set[int]:
    return {int(row) for row in np.argsort(-values, kind="stable")[:count]}


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), DECIMALS) for value in values]
