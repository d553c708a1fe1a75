"""A decoder that says what a script tells it: for tests of the algorithm without an engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tokenforce_core.forcing.predictor import NEVER, BetweenSteps, OnToken

Script = Callable[[tuple[int, ...]], Sequence[tuple[int, float]]]
"""Prompt → the (token id, probability) pairs of its greedy continuation, as long as anyone may ask for."""


def log(probability: float) -> float:
    """Nats; 0 has none, so it counts as the least that an engine says."""
    return math.log(probability) if probability else NEVER


class ScriptedDecoder:
    """Decodes all prompts in lockstep, as a batched engine does. `generated` counts the tokens it gave."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.generated = 0

    def decode(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, on_token: OnToken, between_steps: BetweenSteps
    ) -> None:
        live = {index: self._script(tuple(prompt)) for index, prompt in enumerate(prompts)}
        for step in range(max_tokens):
            for index in list(live):
                token_id, probability = live[index][step]
                self.generated += 1
                if not on_token(index, token_id, log(probability)):
                    del live[index]
            between_steps()
            if not live:
                return
