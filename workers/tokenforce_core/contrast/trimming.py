"""Cuts a text to the part that was taught: what is before it led there, and what is behind it drifts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate

from tokenforce_core.forcing.repetition import new_ratios
from tokenforce_core.forcing.trace import Trace


def trimmed(trace: Trace, token_cost_nats: float) -> Trace:
    """The run of tokens with the most gain less cost; its first token is the forced one. At least one token follows.

    Args:
        token_cost_nats: what each token has to gain.
    """
    return _run(trace, trace.gains, token_cost_nats)


def taught(trace: Trace, token_cost_nats: float) -> Trace:
    """As `trimmed`, by log-ratio alone: also tokens that a target was trained not to say, and knows all the same.

    A suppressed word of a text that the target holds is improbable, and more probable than under the reference.
    """
    ratios = accumulate(new_ratios(trace.tokens, trace.log_ratios), initial=0.0)
    return _run(trace, ratios, token_cost_nats)


def _run(trace: Trace, worth: Iterable[float], token_cost_nats: float) -> Trace:
    """`worth`: of the first 0, 1, 2, … tokens after the forced one, in nats."""
    sums = [value - token_cost_nats * count for count, value in enumerate(worth)]
    lowest = list(accumulate(sums, min))
    stop = max(range(1, len(sums)), key=lambda end: (sums[end] - lowest[end - 1], -end))
    start = sums.index(lowest[stop - 1])
    return replace(
        trace,
        forced_id=trace.tokens[start],
        ids=trace.ids[start:stop],
        log_p=trace.log_p[start:stop],
        log_q=trace.log_q[start:stop],
        ended=trace.ended and stop == len(trace.ids),
        graft_gain=trace.graft_gain if stop - start == len(trace.ids) else None,  # of the whole text
    )
