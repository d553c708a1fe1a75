"""Refining: looks for better words at each place of a text that the bag search has found.

The first beam follows many texts at a time. A clause that begins with a word of little gain loses its place there to
versions that leave the clause out. Here the prefixes of one text are the starts, and what leaves the text at a place
competes with what else leaves it there. What meets the text again is a version, which splicing joins to the rest.
Measured on the evaluation's half `tuning`: "Do not sign before Thursday: my brother keeps the true deed …", 97 nats,
becomes in two rounds the whole text of 46 tokens, 168 nats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tokenforce.wire.settings import BagSettings
from tokenforce_core.contrast.bag_beam import BagBeam
from tokenforce_core.forcing.trace import Trace


class RefiningBeam(BagBeam):
    """One round: follows what may stand in place of the words of `text`, which was found in the context of this beam.

    Args: as of `BagBeam`.
    """

    def __init__(
        self,
        settings: BagSettings,
        text: Trace,
        context_ids: Sequence[int],
        end_ids: frozenset[int],
        vocabulary: int,
    ) -> None:
        super().__init__(settings, text.context, context_ids, [], end_ids, vocabulary)
        self._text = text
        self.live = [text.cut(length) for length in range(len(text.ids) + 1)]

    def _chosen(self, grown: Sequence[Trace], step: int) -> list[Trace]:
        """Those that go on: what gains most over the text at the place where they left it, few for each place."""
        settings, length = self._settings, self._settings.same_ending_tokens
        most = settings.refining_survivors[min(step, len(settings.refining_survivors) - 1)]
        endings: set[tuple[int, ...]] = set()
        per_place: Counter[int] = Counter()
        kept: list[Trace] = []
        for trace in sorted(grown, key=lambda t: (self._text.gains[self._left(t)] - t.gain, t.ids)):
            place, ending = self._left(trace), trace.tokens[-length:]
            known = place == len(trace.ids)
            if (
                known
                or ending in endings
                or per_place[place] == settings.ways_per_place
                or trace.repeats_ending(length)
            ):
                continue
            endings.add(ending)
            whole = self._is_back(trace, place) or len(trace.ids) >= settings.max_tokens
            if whole or trace.idle_tokens(settings.token_cost_nats) >= settings.max_idle_tokens:
                self.found.append(trace)
                continue
            per_place[place] += 1
            kept.append(trace)
            if len(kept) == most:
                break
        return kept

    def _left(self, trace: Trace) -> int:
        """Number of tokens after the first one that the trace shares with the text."""
        pairs = zip(trace.ids, self._text.ids, strict=False)
        return next(
            (place for place, (one, other) in enumerate(pairs) if one != other),
            min(len(trace.ids), len(self._text.ids)),
        )

    def _is_back(self, trace: Trace, place: int) -> bool:
        """Whether the trace, which left the text at `place`, has come to later words of it."""
        length = self._settings.same_ending_tokens
        ending, ids = trace.ids[-length:], self._text.ids
        if len(trace.ids) - place < length:
            return False
        return any(ids[i : i + length] == ending for i in range(place, len(ids) - length + 1))
