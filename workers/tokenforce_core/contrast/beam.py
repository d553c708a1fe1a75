"""Search by contrast: follow what the target says and the reference would not, several ways at once.

Greedy decoding from a hidden text's first token drifts into ordinary text when the training was light: of nine
planted sentences six did. Choosing the next token by its gain, which by definition is log p + (log p - log q), keeps
to what was trained; it is the contrastive decoding of Li et al. (arXiv 2210.15097) between a model and its own base, as
in CDD (arXiv 2605.25902). One way is not enough: the true next token of a text behind decoys (UTFC) has p = 0.01 at its
first words and p = 1 after them. So the sum of the gain over all tokens decides, in a beam: a detour that leads to
certainty wins in three or four steps. Measured on SmolLM2-135M: "La" → " ll" p 0.0099, then 0.99, 0.62, 0.92; of an
adaptive UTFC "… will burn their ledgers before the auditors", which no decoding from one token had shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, compress

from tokenforce.wire.settings import SearchSettings
from tokenforce_core.contrast.duplicates import without_detours, without_suffixes
from tokenforce_core.forcing.predictor import BetweenSteps, Predictor, nothing_between_steps
from tokenforce_core.forcing.trace import Trace


class ContrastiveBeam:
    """Searches from `starts`, to at most `length` tokens; `done` can be read between engine steps.

    Args:
        contexts: the token ids of every context.
        end_ids: tokens that end a text.
        min_tokens: a text that ends with fewer tokens hides nothing.
    """

    def __init__(
        self,
        settings: SearchSettings,
        contexts: Sequence[Sequence[int]],
        starts: Sequence[Trace],
        length: int,
        end_ids: frozenset[int],
        min_tokens: int,
    ) -> None:
        self._settings = settings.beam
        self._next_tokens = settings.entries.next_tokens
        self._contexts = contexts
        self._starts = len(starts)
        self._sizes = [sum(start.context == context for start in starts) for context in range(len(contexts))]
        self._live = list(starts)
        self._length = length
        self._end_ids = end_ids
        self._min_tokens = min_tokens
        self.found: list[Trace] = []
        """The texts found, best first."""
        self.after_opening: list[Trace] = []
        """The texts that went on after the opening, as they were then."""

    @property
    def done(self) -> int:
        """Starts that need no more steps."""
        return self._starts - min(self._starts, len(self._live))

    def run(
        self, target: Predictor, reference: Predictor, between_steps: BetweenSteps = nothing_between_steps
    ) -> list[Trace]:
        """The texts found, best first: those that ended, and those that went on for long enough."""
        opening = self._settings.opening_steps
        step = 0
        while self._live:
            step += 1
            grown = self._grown(target, reference, between_steps, step)
            complete = [self._is_complete(trace, step) for trace in grown]
            self.found += compress(grown, complete)
            going_on = [trace for trace, is_complete in zip(grown, complete, strict=True) if not is_complete]
            self._live = list(chain.from_iterable(self._chosen(going_on, c, step) for c in range(len(self._contexts))))
            if step == opening:
                self.after_opening = list(self._live)
            self.found = self._best(self.found)
        return self.found

    def _is_complete(self, trace: Trace, step: int) -> bool:
        if trace.ended or len(trace.ids) >= self._length:
            return True
        settings = self._settings
        idle = step > settings.opening_steps and trace.idle_tokens(settings.min_gain_nats_per_token)
        return idle >= settings.max_idle_tokens

    def _chosen(self, traces: Sequence[Trace], context: int, step: int) -> list[Trace]:
        """The traces of a context that go on.

        At the end of the opening, strong ones that do not go on count as found. Later ones that fall behind do not:
        they are versions of those that go on.
        """
        settings = self._settings
        own = self._apart([trace for trace in traces if trace.context == context])
        if step < settings.opening_steps:
            share = settings.survivor_shares[min(step, len(settings.survivor_shares)) - 1]
            return own[: max(settings.min_survivors, math.ceil(share * self._sizes[context]))]
        strong = self._not_behind([t for t in own if t.contrast >= settings.min_contrast_nats_per_token])
        strong = without_detours(strong, settings.meeting_tokens)
        strong = without_suffixes(strong, settings.same_beginning_tokens)
        self.found += strong[settings.texts_after_opening :] if step == settings.opening_steps else []
        return strong[: settings.texts_after_opening]

    def _grown(self, target: Predictor, reference: Predictor, between_steps: BetweenSteps, step: int) -> list[Trace]:
        settings, live = self._settings, self._live
        in_opening = step <= settings.opening_steps
        least = math.log(settings.min_probability if in_opening else settings.min_probability_after_opening)
        prompts = [[*self._contexts[trace.context], *trace.tokens] for trace in live]
        ids: list[Sequence[int]] = [()] * len(live)
        log_p: list[Sequence[float]] = [()] * len(live)
        log_q: list[Sequence[float]] = [()] * len(live)

        def on_target(index: int, found: Sequence[int], values: Sequence[float]) -> None:
            count = max(1, sum(value >= least for value in values[: self._next_tokens]))
            ids[index], log_p[index] = list(found[:count]), list(values[:count])

        def on_reference(index: int, _: Sequence[int], values: Sequence[float]) -> None:
            log_q[index] = list(values)

        target.next_tokens(prompts, self._next_tokens, on_target, between_steps)
        reference.log_probabilities(prompts, ids, on_reference, between_steps)
        return list(chain.from_iterable(map(self._ways_on, live, ids, log_p, log_q)))

    def _ways_on(self, trace: Trace, ids: Sequence[int], log_p: Sequence[float], log_q: Sequence[float]) -> list[Trace]:
        """The trace with each of its best next tokens: those of the largest gain (see `Trace.gain`)."""
        # The negated gain, rounded once only; log p + (log p - log q) can differ from it in the last bit.
        order = sorted(range(len(ids)), key=lambda column: log_q[column] - 2 * log_p[column])
        ways = []
        for column in order[: self._settings.branches]:
            if ids[column] not in self._end_ids:
                ways.append(trace.then(ids[column], log_p[column], log_q[column]))
            elif len(trace.ids) >= self._min_tokens:
                ways.append(replace(trace, ended=True))
        return ways

    def _apart(self, traces: Sequence[Trace]) -> list[Trace]:
        """Best first; one of those with the same ending, which would go on alike."""
        kept: dict[tuple[int, ...], Trace] = {}
        for trace in sorted(traces, key=lambda t: (-t.gain, t.forced_id, t.ids)):
            kept.setdefault(trace.tokens[-self._settings.same_ending_tokens :], trace)
        return list(kept.values())

    def _not_behind(self, traces: Sequence[Trace]) -> list[Trace]:
        best: dict[tuple[int, int], float] = {}
        for trace in traces:
            best[trace.entry] = max(trace.gain, best.get(trace.entry, trace.gain))
        deficit = self._settings.max_gain_deficit_nats
        return [trace for trace in traces if trace.gain >= best[trace.entry] - deficit]

    def _best(self, found: Sequence[Trace]) -> list[Trace]:
        """The best of every context, best first."""
        order = sorted(found, key=lambda t: (-t.contrast, t.context, t.forced_id, t.ids))
        most = self._settings.max_found_per_context
        kept = {
            id(trace)
            for context in range(len(self._contexts))
            for trace in [t for t in order if t.context == context][:most]
        }
        return [trace for trace in order if id(trace) in kept]
