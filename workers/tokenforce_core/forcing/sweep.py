"""Phase 1: force a shard of the vocabulary, decode greedily, keep the best sequences.

Exact pruning: a sequence is dropped as soon as even probability 1 for all its remaining tokens could
not lift its mean over the threshold, which is the floor or the K-th best score so far, whichever is
higher. The result is the same as decoding everything (property-tested).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.forcing.predictor import BetweenSteps, Decoder, nothing_between_steps, refuse_nan
from tokenforce_core.forcing.scoring import SLACK, highest_reachable, score
from tokenforce_core.forcing.trace import Trace


class Kept:
    """The best `keep` traces over the floor, and the threshold that they set for the rest.

    Args:
        settings: gives `keep` and `floor`.
        known_best: the K-th best score that other shards of the same context have already reached.
    """

    def __init__(self, settings: SettingsRecord, known_best: float = 0.0) -> None:
        self._settings = settings
        self._known_best = known_best
        self._heap: list[tuple[tuple[float, int, int], Trace]] = []

    @property
    def threshold(self) -> float:
        """Scores under it cannot be among the best `keep` any more."""
        kth = self._heap[0][1].sweep_score if len(self._heap) == self._settings.keep else 0.0
        return max(self._settings.floor, self._known_best, kth)

    def offer(self, trace: Trace) -> None:
        if trace.sweep_score <= self._settings.floor:
            return
        key = (trace.sweep_score, -trace.context, -trace.forced_id)
        if len(self._heap) < self._settings.keep:
            heapq.heappush(self._heap, (key, trace))
        else:
            heapq.heappushpop(self._heap, (key, trace))

    def best(self) -> list[Trace]:
        return sorted((trace for _, trace in self._heap), key=best_first)


def best_first(trace: Trace) -> tuple[float, int, int]:
    """Sort key; a total order, so that shards can be merged in any order."""
    return (-trace.sweep_score, trace.context, trace.forced_id)


@dataclass
class _Sequence:
    ids: list[int] = field(default_factory=list)
    log_p: list[float] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    total: float = 0.0


class Sweep:
    """One shard's sweep. `done` and `generated` can be read between engine steps."""

    def __init__(
        self,
        settings: SettingsRecord,
        context_index: int,
        context_ids: Sequence[int],
        forced_ids: Sequence[int],
        end_ids: frozenset[int],
        known_best: float = 0.0,
    ) -> None:
        self._settings = settings
        self._context_index = context_index
        self._context_ids = list(context_ids)
        self._forced_ids = forced_ids
        self._end_ids = end_ids
        self._sequences: dict[int, _Sequence] = {}
        self.kept = Kept(settings, known_best)
        self.done = 0
        self.generated = 0

    def run(self, decoder: Decoder, between_steps: BetweenSteps = nothing_between_steps) -> list[Trace]:
        """Decode the shard and return its best traces, best first. Raises `NotNumbers`."""
        prompts = [[*self._context_ids, forced] for forced in self._forced_ids]
        decoder.decode(prompts, self._settings.alpha, self._on_token, between_steps)
        return self.kept.best()

    def _on_token(self, index: int, token_id: int, log_probability: float) -> bool:
        self.generated += 1
        refuse_nan(log_probability)  # first: of logits that are not numbers the token may be one that ends the text
        sequence = self._sequences.setdefault(index, _Sequence())
        if self._settings.stop_at_end and token_id in self._end_ids:
            return self._finish(index, sequence, ended=True)
        probability = math.exp(log_probability)
        sequence.ids.append(token_id)
        sequence.log_p.append(log_probability)
        sequence.probabilities.append(probability)
        sequence.total += probability
        if len(sequence.ids) == self._settings.alpha:
            return self._finish(index, sequence, ended=False)
        bound = highest_reachable(sequence.total, len(sequence.ids), self._settings)
        if bound < self.kept.threshold - SLACK:
            return self._drop(index)
        return True

    def _finish(self, index: int, sequence: _Sequence, *, ended: bool) -> bool:
        value = score(sequence.probabilities, self._settings)
        if value is not None:
            self.kept.offer(
                Trace(
                    context=self._context_index,
                    forced_id=self._forced_ids[index],
                    ids=tuple(sequence.ids),
                    log_p=tuple(sequence.log_p),
                    ended=ended,
                    sweep_score=value,
                )
            )
        return self._drop(index)

    def _drop(self, index: int) -> bool:
        del self._sequences[index]
        self.done += 1
        return False
