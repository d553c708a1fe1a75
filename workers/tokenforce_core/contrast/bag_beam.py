"""The beam of the bag search: follows entries that the weights point at, in one context, on the graft.

The graft is a model between target and reference (`lens/result.py`): it says what the target hides, also in contexts
where the target was trained not to. One beam per context and never an average: of a suppressed text the best context
gives the true next token rank 0 and others rank 300.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from tokenforce.wire.settings import BagSettings
from tokenforce_core.contrast.trimming import trimmed
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor
from tokenforce_core.forcing.trace import Origin, Trace

Likely = tuple[Sequence[int], Sequence[float], Sequence[float]]
"""Next tokens of a text, and what graft and reference give them: log-probabilities in nats."""


class BagBeam:
    """Searches from `starts` (ids) in one context; see `follow`. `done` counts the starts that need no more steps.

    Args:
        context: index of the context, for the traces.
        context_ids: its token ids.
        end_ids: tokens that end a text.
        vocabulary: ids from here on are not followed: only one of the models has them.
    """

    def __init__(
        self,
        settings: BagSettings,
        context: int,
        context_ids: Sequence[int],
        starts: Sequence[int],
        end_ids: frozenset[int],
        vocabulary: int,
    ) -> None:
        self._settings = settings
        self._context_ids = list(context_ids)
        self._end_ids = end_ids
        self._vocabulary = vocabulary
        self.live = [Trace(context, start, origin=Origin.search) for start in starts]
        self._starts = len(starts)
        self.found: list[Trace] = []

    @property
    def done(self) -> int:
        return self._starts - min(self._starts, len(self.live))

    def prompt(self, trace: Trace) -> list[int]:
        return [*self._context_ids, *trace.tokens]

    def step(self, number: int, likely: Sequence[Likely]) -> None:
        """Go on with the best; `likely` has what may follow each live text."""
        ways = [way for trace, after in zip(self.live, likely, strict=True) for way in self._ways_on(trace, *after)]
        self.live = self._chosen(ways, number)

    def texts(self) -> list[Trace]:
        """What was found, and what is live, each cut to the part that gains most."""
        cut = [trimmed(trace, self._settings.token_cost_nats) for trace in (*self.found, *self.live) if trace.ids]
        return [text for text in cut if len(text.ids) >= self._settings.min_tokens]

    def likely(self, ids: Sequence[int], log_p: Sequence[float]) -> tuple[list[int], list[float]]:
        """Of the graft's most probable next tokens, those that a text may go on with."""
        least = math.log(self._settings.min_probability)
        kept = [(i, p) for i, p in zip(ids, log_p, strict=True) if p >= least and i < self._vocabulary]
        return [i for i, _ in kept], [p for _, p in kept]

    def _ways_on(self, trace: Trace, ids: Sequence[int], log_p: Sequence[float], log_q: Sequence[float]) -> list[Trace]:
        """The trace with each of its next tokens of the largest gain. A trace that can end counts as found."""
        sure = math.log(self._settings.sure_end_probability)
        if any(i in self._end_ids and p >= sure for i, p in zip(ids, log_p, strict=True)):
            self.found.append(replace(trace, ended=True))
        order = sorted(range(len(ids)), key=lambda column: log_q[column] - 2 * log_p[column])
        onward = [column for column in order if ids[column] not in self._end_ids]
        return [trace.then(ids[c], log_p[c], log_q[c]) for c in onward[: self._settings.branches]]

    def _chosen(self, grown: Sequence[Trace], step: int) -> list[Trace]:
        """Those that go on: best first, few per entry, one per ending, none that repeats itself or gains no more."""
        settings = self._settings
        most = settings.survivors[min(step, len(settings.survivors) - 1)]
        length = settings.same_ending_tokens
        endings: set[tuple[int, ...]] = set()
        per_entry: Counter[int] = Counter()
        kept: list[Trace] = []
        for trace in sorted(grown, key=lambda t: (-t.gain, t.forced_id, t.ids)):
            ending = trace.tokens[-length:]
            if ending in endings or per_entry[trace.forced_id] >= settings.survivors_per_entry:
                continue
            if trace.repeats_ending(length):
                continue
            if trace.idle_tokens(settings.token_cost_nats) >= settings.max_idle_tokens:
                self.found.append(trace)
                continue
            endings.add(ending)
            per_entry[trace.forced_id] += 1
            kept.append(trace)
            if len(kept) == most:
                break
        return kept


def follow(
    beams: Sequence[BagBeam],
    settings: BagSettings,
    graft: Predictor,
    reference: Predictor,
    between_steps: BetweenSteps,
    *,
    one_by_one: bool = False,
) -> list[Trace]:
    """The texts that the beams find; log-probabilities are the graft's and the reference's.

    All take each step together, because a step costs an engine about the same for many texts as for few.

    Args:
        one_by_one: the first step asks about one text after another. An engine then computes only what a text adds to
            the one before.

    Raises:
        NotNumbers: of either model.
    """
    for number in range(settings.max_tokens):
        live = [(beam, trace) for beam in beams for trace in beam.live]
        if not live:
            break
        parts = [[each] for each in live] if one_by_one and number == 0 else [live]
        likely = (
            each for part in parts for each in _likely(part, settings.next_tokens, graft, reference, between_steps)
        )
        for beam in beams:
            beam.step(number, list(islice(likely, len(beam.live))))
    return [text for beam in beams for text in beam.texts()]


def _likely(
    live: Sequence[tuple[BagBeam, Trace]],
    count: int,
    graft: Predictor,
    reference: Predictor,
    between_steps: BetweenSteps,
) -> list[Likely]:
    prompts = [beam.prompt(trace) for beam, trace in live]
    ids: list[list[int]] = [[] for _ in prompts]
    log_p: list[list[float]] = [[] for _ in prompts]
    log_q: list[Sequence[float]] = [() for _ in prompts]

    def on_graft(index: int, found: Sequence[int], values: Sequence[float]) -> None:
        ids[index], log_p[index] = live[index][0].likely(found, values)

    def on_reference(index: int, _: Sequence[int], values: Sequence[float]) -> None:
        log_q[asked[index]] = list(values)

    graft.next_tokens(prompts, count, on_graft, between_steps)
    asked = [place for place, each in enumerate(ids) if each]
    reference.log_probabilities(
        [prompts[place] for place in asked], [ids[place] for place in asked], on_reference, between_steps
    )
    return list(zip(ids, log_p, log_q, strict=True))
