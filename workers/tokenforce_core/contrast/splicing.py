"""Splicing: where two versions of a text share a run of tokens, the head of one and the tail of the other make a third.

Each context's beam goes astray at other words: one reads "Tomorrow the weavers of Ostrava" and then drifts, another
takes "Tomorrow we will burn their ledgers before the auditors arrive". The gain of a spliced text is estimated from its
parts, without a forward pass; `graft_gain.py` then measures the best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tokenforce.wire.settings import BagSettings
from tokenforce_core.forcing.predictor import BetweenSteps, nothing_between_steps
from tokenforce_core.forcing.trace import Trace


def spliced(
    versions: Sequence[Trace], settings: BagSettings, between_steps: BetweenSteps = nothing_between_steps
) -> list[Trace]:
    """Texts spliced from versions, those of the largest estimated gain first, `settings.spliced_texts` at most.

    Only texts that promise more than both of their parts.
    """
    best: dict[tuple[int, ...], Trace] = {}
    pool = list(versions[: settings.spliced_versions])
    for _ in range(settings.splicing_rounds):
        new: dict[tuple[int, ...], Trace] = {}
        for head in pool:
            between_steps()
            for tail in pool:
                for text in _joined(head, tail, settings):
                    known = new.get(text.tokens) or best.get(text.tokens)
                    if known is None or known.gain < text.gain:
                        new[text.tokens] = text
        best |= new
        pool = _best([*pool, *new.values()], settings.spliced_versions)
    own = {version.tokens for version in versions}
    return _best([text for text in best.values() if text.tokens not in own], settings.spliced_texts)


def _best(texts: Sequence[Trace], count: int) -> list[Trace]:
    return sorted(texts, key=lambda t: (-t.gain, t.context, t.tokens))[:count]


def _joined(head: Trace, tail: Trace, settings: BagSettings) -> Iterator[Trace]:
    """The head up to a shared run, and the tail after it, wherever that gains more than either."""
    run = settings.splice_tokens
    least = max(head.gain, tail.gain) + settings.token_cost_nats
    places: dict[tuple[int, ...], list[int]] = {}
    for place in range(len(tail.tokens) - run + 1):
        places.setdefault(tail.tokens[place : place + run], []).append(place)
    for end in range(run, len(head.tokens)):
        for place in places.get(head.tokens[end - run : end], ()):
            start = place + run
            promised = head.gains[end - 1] + tail.gain - tail.gains[start - 1]
            if promised <= least or end + len(tail.tokens) - start > settings.max_tokens:
                continue
            text = replace(
                head,
                ids=(*head.ids[: end - 1], *tail.ids[start - 1 :]),
                log_p=(*head.log_p[: end - 1], *tail.log_p[start - 1 :]),
                log_q=(*head.log_q[: end - 1], *tail.log_q[start - 1 :]),
                ended=tail.ended,
            )
            if text.gain > least:  # without what is said twice
                yield text
