"""Removes traces of a beam that another trace makes superfluous."""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce_core.forcing.trace import Trace


def without_detours(traces: Sequence[Trace], meeting_tokens: int) -> list[Trace]:
    """Of two traces that reach the same `meeting_tokens` tokens, drops the one with less gain at that point.

    The traces, all of one context, may reach them at different places; from there both go on alike. A trace that leaves
    words out is there first and has more gain at every step, so the two are compared where the other one catches up
    (Viterbi's argument).
    """
    passed: dict[tuple[int, ...], list[tuple[Trace, int, float]]] = {}
    for trace in traces:
        gains = trace.gains
        for end in range(meeting_tokens, len(trace.ids) + 1):
            passed.setdefault(trace.ids[end - meeting_tokens : end], []).append((trace, end, gains[end]))
    lost: set[int] = set()
    for trace in traces:
        met = passed.get(trace.ids[-meeting_tokens:], ()) if len(trace.ids) >= meeting_tokens else ()
        for other, end, gain in met:
            itself = other.beginning(end) == trace.beginning(end)  # or what it branched off from
            if not itself and id(trace) not in lost and id(other) not in lost:
                lost.add(id(other) if gain < trace.gain else id(trace))
    return [trace for trace in traces if id(trace) not in lost]


def without_suffixes(traces: Sequence[Trace], beginning_tokens: int) -> list[Trace]:
    """Keeps one of the traces that entered the same text at different tokens: the one that entered it first.

    A trace is a suffix of another one of its context that contains its first `beginning_tokens` tokens.
    """
    kept: list[Trace] = []
    for trace in traces:
        if any(_place(trace, other, beginning_tokens) is not None for other in kept):
            continue
        kept = [other for other in kept if not _place(other, trace, beginning_tokens)]
        kept.append(trace)
    return kept


def _place(trace: Trace, other: Trace, beginning_tokens: int) -> int | None:
    """Where `other` contains the beginning of `trace`, which started at another token of its context; else None."""
    if trace.context != other.context or trace.entry == other.entry or len(trace.ids) < beginning_tokens:
        return None
    start = trace.ids[:beginning_tokens]
    places = range(len(other.ids) - beginning_tokens + 1)
    return next((i for i in places if other.ids[i : i + beginning_tokens] == start), None)
