"""Phase 2: decode the survivors for β tokens and read what they say.

A text that repeats itself is reported once: what follows the first unit is copied from the context by
the model and says nothing more about its weights, so neither the text nor the mean probability
includes it. A loop whose first unit is shorter than the shortest text worth reporting ("vvvv…",
"device\ndevice\n…") is degenerate: such loops reach means of 0.98 in any model and are ranked last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenforce.wire.report import SettingsRecord
from tokenforce_core.forcing.predictor import BetweenSteps, Decoder, nothing_between_steps, number
from tokenforce_core.forcing.repetition import Period, best_period
from tokenforce_core.forcing.sweep import Candidate

LOOP_SHARE = 0.5
"""A sequence whose repeated part covers this much of it is a loop."""


@dataclass(frozen=True)
class Confirmed:
    """A candidate after β tokens.

    `token_ids` (forced token first) and `probabilities` (one fewer) are cut after the first repeated
    unit; `period` describes the whole continuation; `unit` are the repeated unit's ids.
    """

    candidate: Candidate
    token_ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    period: Period
    unit: tuple[int, ...]
    ended: bool
    degenerate: bool

    @property
    def mean_probability(self) -> float:
        return sum(self.probabilities) / len(self.probabilities)


def read(
    candidate: Candidate,
    content_ids: Sequence[int],
    probabilities: Sequence[float],
    ended: bool,
    settings: SettingsRecord,
    is_separator: Callable[[int], bool] = lambda _: False,
) -> Confirmed:
    """Turn the content tokens decoded for a candidate into what is reported."""
    whole = (candidate.forced_id, *content_ids)
    period = best_period(whole, is_separator)
    length = len(whole)
    first_unit = period.start + period.period
    loops = period.share >= LOOP_SHARE and settings.stop_at_end
    if loops:
        length = min(length, max(first_unit, 1 + settings.min_tokens))
    return Confirmed(
        candidate=candidate,
        token_ids=whole[:length],
        probabilities=tuple(probabilities[: length - 1]),
        period=period,
        unit=whole[period.start : period.start + period.period],
        ended=ended,
        degenerate=loops and first_unit < settings.min_tokens,
    )


class Confirmation:
    """Decodes all survivors of a scan; `done` and `generated` can be read between engine steps."""

    def __init__(
        self,
        settings: SettingsRecord,
        contexts: Sequence[Sequence[int]],
        candidates: Sequence[Candidate],
        end_ids: frozenset[int],
        is_separator: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._settings = settings
        self._contexts = contexts
        self._candidates = candidates
        self._end_ids = end_ids
        self._is_separator = is_separator
        self._decoded: list[tuple[list[int], list[float]]] = [([], []) for _ in candidates]
        self._ended = [False] * len(candidates)
        self.done = 0
        self.generated = 0

    def run(self, decoder: Decoder, between_steps: BetweenSteps = nothing_between_steps) -> list[Confirmed]:
        """Decode β tokens per candidate in its own context; same order as the candidates. Raises `NotNumbers`."""
        prompts = [[*self._contexts[c.context], c.forced_id] for c in self._candidates]
        decoder.decode(prompts, self._settings.beta, self._on_token, between_steps)
        return [
            read(candidate, ids, probabilities, ended, self._settings, self._is_separator)
            for candidate, (ids, probabilities), ended in zip(self._candidates, self._decoded, self._ended, strict=True)
            if ids
        ]

    def _on_token(self, index: int, token_id: int, probability: float) -> bool:
        self.generated += 1
        number(probability)
        if self._settings.stop_at_end and token_id in self._end_ids:
            self._ended[index] = True
            self.done += 1
            return False
        ids, probabilities = self._decoded[index]
        ids.append(token_id)
        probabilities.append(probability)
        if len(ids) == self._settings.beta:
            self.done += 1
            return False
        return True
