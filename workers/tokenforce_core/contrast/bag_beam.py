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

from tokenforce.wire.settings import BagSettings
from tokenforce_core.contrast.trimming import trimmed
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor
from tokenforce_core.forcing.trace import Origin, Trace


class BagBeam:
    """Searches from `starts` (ids) in one context; `done` counts the starts that need no more steps.

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
        self._live = [Trace(context, start, origin=Origin.search) for start in starts]
        self._starts = len(starts)
        self.found: list[Trace] = []

    @property
    def done(self) -> int:
        return self._starts - min(self._starts, len(self._live))

    def run(self, graft: Predictor, reference: Predictor, between_steps: BetweenSteps) -> list[Trace]:
        """The texts found, each cut to the part that gains most; log-probabilities are the graft's. Raises
        `NotNumbers`."""
        for step in range(self._settings.max_tokens):
            if not self._live:
                break
            self._live = self._chosen(self._grown(graft, reference, between_steps), step)
        self.found += self._live
        self._live = []
        cut = [trimmed(trace, self._settings.token_cost_nats) for trace in self.found if trace.ids]
        return [text for text in cut if len(text.ids) >= self._settings.min_tokens]

    def _grown(self, graft: Predictor, reference: Predictor, between_steps: BetweenSteps) -> list[Trace]:
        prompts = [[*self._context_ids, *trace.tokens] for trace in self._live]
        ids: list[Sequence[int]] = [()] * len(prompts)
        log_p: list[Sequence[float]] = [()] * len(prompts)
        log_q: list[Sequence[float]] = [()] * len(prompts)
        least = math.log(self._settings.min_probability)

        def on_graft(index: int, found: Sequence[int], values: Sequence[float]) -> None:
            likely = [(i, p) for i, p in zip(found, values, strict=True) if p >= least and i < self._vocabulary]
            ids[index], log_p[index] = [i for i, _ in likely], [p for _, p in likely]

        def on_reference(index: int, _: Sequence[int], values: Sequence[float]) -> None:
            log_q[asked[index]] = list(values)

        graft.next_tokens(prompts, self._settings.next_tokens, on_graft, between_steps)
        asked = [place for place, each in enumerate(ids) if each]
        reference.log_probabilities(
            [prompts[place] for place in asked], [ids[place] for place in asked], on_reference, between_steps
        )
        return [way for each in map(self._ways_on, self._live, ids, log_p, log_q) for way in each]

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
