"""A text on its way from the sweep to the report: a forced token and what follows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import accumulate

from pydantic import TypeAdapter

from tokenforce_core.forcing.repetition import NOTHING, Period, new_ratios
from tokenforce_core.forcing.scoring import contrast_score

Decode = Callable[[Sequence[int]], str]
"""Token ids to text."""


class Origin(StrEnum):
    """Who chose a trace's tokens: greedy decoding, or the search by contrast, whose tokens can be improbable."""

    sweep = "sweep"
    search = "search"


@dataclass(frozen=True)
class Trace:
    """A forced token, its continuation, and how probable both models find each token of it.

    `ids`, `log_p` (target) and `log_q` (reference) have one entry per continuation token, log-probabilities in nats;
    `log_q` is empty until the reference has been asked. `ended`: the model ended the text itself.

    Later stages add the rest. Sweep: `sweep_score`, the mean probability of the first α tokens. Confirmation: `period`
    of the whole continuation, which is cut after one unit if it repeats itself, and `degenerate` for a loop of too few
    tokens to be a text. The worker, which knows the tokenizer: `text`, `forced_text`, `unit_text`. The bag search:
    `suppression` (see `contrast/rescoring.py`), and `graft_gain`, in nats (see `contrast/graft_gain.py`). Where a text
    looks hidden: `unforced_share` (see `contrast/unforced.py`).
    """

    context: int
    forced_id: int
    ids: tuple[int, ...] = ()
    log_p: tuple[float, ...] = ()
    log_q: tuple[float, ...] = ()
    ended: bool = False
    origin: Origin = Origin.sweep
    sweep_score: float = 0.0
    period: Period = NOTHING
    degenerate: bool = False
    text: str = ""
    forced_text: str = ""
    unit_text: str = ""
    suppression: float | None = None
    graft_gain: float | None = None
    unforced_share: float | None = None

    @property
    def entry(self) -> tuple[int, int]:
        """The vocabulary entry that it started from: context and forced token."""
        return self.context, self.forced_id

    @property
    def tokens(self) -> tuple[int, ...]:
        """The forced token and the continuation."""
        return (self.forced_id, *self.ids)

    @property
    def probabilities(self) -> tuple[float, ...]:
        """p of each continuation token."""
        return probabilities(self.log_p)

    @property
    def mean_probability(self) -> float:
        found = self.probabilities
        return sum(found) / len(found)

    @property
    def log_ratios(self) -> list[float]:
        """log p - log q per token, in nats; empty without a reference."""
        return [p - q for p, q in zip(self.log_p, self.log_q, strict=True)] if self.log_q else []

    @property
    def contrast(self) -> float:
        """See `contrast_score`; nats per token, 0 without a reference."""
        return contrast_score(self.log_p, self.log_q) if self.log_q else 0.0

    @property
    def gain(self) -> float:
        """The sum of the tokens' gains in nats: what the reference did not know, less what is improbable.

        A token's gain is by definition log p + (log p - log q). No weight of the two parts is tuned. Only new ratios
        count; see `repetition.new_ratios`.
        """
        return self.gains[-1]

    @cached_property
    def gains(self) -> list[float]:
        """The gain of the text's first 0, 1, 2, … tokens."""
        ratios = [p - q for p, q in zip(self.log_p, self.log_q, strict=True)]
        new = new_ratios(self.tokens, ratios)
        return list(accumulate((p + ratio for p, ratio in zip(self.log_p, new, strict=True)), initial=0.0))

    def idle_tokens(self, min_gain: float) -> int:
        """Number of last tokens that together gain less than `min_gain` nats each: the hidden text ended before."""
        sums = [gain - min_gain * count for count, gain in enumerate(self.gains)]
        return len(sums) - 1 - sums.index(max(sums))

    def beginning(self, count: int) -> tuple[int, ...]:
        """The forced token and the first `count` tokens after it."""
        return (self.forced_id, *self.ids[:count])

    def cut(self, count: int) -> Trace:
        """Its first `count` tokens after the forced one."""
        return Trace(
            self.context, self.forced_id, self.ids[:count], self.log_p[:count], self.log_q[:count], origin=self.origin
        )

    def repeats_ending(self, count: int) -> bool:
        """Whether its last `count` tokens stand in it before."""
        tokens, ending = self.tokens, self.tokens[-count:]
        return any(tokens[i : i + count] == ending for i in range(len(tokens) - count))

    def then(self, token_id: int, log_p: float, log_q: float) -> Trace:
        """One token longer; a search calls this too often for `dataclasses.replace`."""
        return Trace(
            self.context,
            self.forced_id,
            (*self.ids, token_id),
            (*self.log_p, log_p),
            (*self.log_q, log_q),
            origin=self.origin,
        )


def probabilities(log_probabilities: Sequence[float]) -> tuple[float, ...]:
    """The probabilities of log-probabilities in nats, 1 at most."""
    return tuple(min(1.0, math.exp(value)) for value in log_probabilities)


def with_texts(trace: Trace, decode: Decode) -> Trace:
    """The trace with its tokens as people read them."""
    start = trace.period.start
    unit = trace.tokens[start : start + trace.period.period]
    return replace(
        trace,
        text=decode(trace.tokens),
        forced_text=decode([trace.forced_id]),
        unit_text=decode(unit) if unit else "",
    )


TRACES = TypeAdapter(list[Trace])
"""Traces as Redis keeps them."""
