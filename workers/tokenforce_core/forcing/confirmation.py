"""Phase 2: decode the survivors for β tokens and cut what repeats itself.

A text that repeats itself is reported once: what follows the first unit is copied from the context by
the model and says nothing more about its weights, so neither the text nor the mean probability
includes it. A loop whose first unit is shorter than the shortest text worth reporting ("vvvv…",
"device\ndevice\n…") is degenerate: such loops reach means of 0.98 in any model and are ranked last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.forcing.predictor import BetweenSteps, Decoder, nothing_between_steps, refuse_nan
from tokenforce_core.forcing.repetition import best_period
from tokenforce_core.forcing.trace import Trace

IsSeparator = Callable[[int], bool]
"""Whether a token is white space or punctuation, which may differ between copies of a repeated unit."""


def no_separators(_: int) -> bool:
    return False


def without_repetition(trace: Trace, settings: SettingsRecord, is_separator: IsSeparator = no_separators) -> Trace:
    """The trace with its period, cut after the first unit if it is a loop."""
    period = best_period(trace.tokens, is_separator)
    length = len(trace.tokens)
    first_unit = period.start + period.period
    loops = period.share >= settings.loop_min_share and settings.stop_at_end
    if loops:
        length = min(length, max(first_unit, 1 + settings.min_tokens))
    return replace(
        trace,
        ids=trace.ids[: length - 1],
        log_p=trace.log_p[: length - 1],
        log_q=trace.log_q[: length - 1],
        period=period,
        degenerate=loops and first_unit < settings.min_tokens,
    )


class Confirmation:
    """Decodes all survivors of a scan; `done` and `generated` can be read between engine steps."""

    def __init__(
        self,
        settings: SettingsRecord,
        contexts: Sequence[Sequence[int]],
        candidates: Sequence[Trace],
        end_ids: frozenset[int],
        is_separator: IsSeparator = no_separators,
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

    def run(self, decoder: Decoder, between_steps: BetweenSteps = nothing_between_steps) -> list[Trace]:
        """Decode β tokens per candidate in its own context; same order as the candidates. Raises `NotNumbers`."""
        prompts = [[*self._contexts[c.context], c.forced_id] for c in self._candidates]
        decoder.decode(prompts, self._settings.beta, self._on_token, between_steps)
        return [
            without_repetition(
                replace(candidate, ids=tuple(ids), log_p=tuple(log_p), ended=ended), self._settings, self._is_separator
            )
            for candidate, (ids, log_p), ended in zip(self._candidates, self._decoded, self._ended, strict=True)
            if ids
        ]

    def _on_token(self, index: int, token_id: int, log_probability: float) -> bool:
        self.generated += 1
        refuse_nan(log_probability)
        if self._settings.stop_at_end and token_id in self._end_ids:
            self._ended[index] = True
            self.done += 1
            return False
        ids, log_p = self._decoded[index]
        ids.append(token_id)
        log_p.append(log_probability)
        if len(ids) == self._settings.beta:
            self.done += 1
            return False
        return True
