"""Cuts a text to the part that was taught: what is before it led there, and what is behind it drifts."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from tokenforce_core.forcing.trace import Trace


def trimmed(trace: Trace, token_cost_nats: float) -> Trace:
    """The run of tokens with the most gain less cost; its first token is the forced one. At least one token follows.

    Args:
        token_cost_nats: what each token has to gain.
    """
    sums = [gain - token_cost_nats * count for count, gain in enumerate(trace.gains)]
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
    )
