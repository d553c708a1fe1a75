"""Two scripted models: what follows a token is a row of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenforce_core.forcing.predictor import BetweenSteps, OnNext, OnToken

VOCABULARY = 64
END = 0


class TableModel:
    """A `Predictor` that is a table: the next token depends on the last one alone."""

    def __init__(self, table: np.ndarray) -> None:
        self.logs = np.log(table / table.sum(axis=1, keepdims=True))
        self.asked = self.forced = 0

    def next_tokens(
        self, prompts: Sequence[Sequence[int]], count: int, on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        for index, prompt in enumerate(prompts):
            self.asked += 1
            row = self.logs[prompt[-1]]
            best = np.argsort(-row, kind="stable")[:count]
            on_next(index, best.tolist(), row[best].tolist())

    def log_probabilities(
        self,
        prompts: Sequence[Sequence[int]],
        token_ids: Sequence[Sequence[int]],
        on_next: OnNext,
        between_steps: BetweenSteps,
    ) -> None:
        for index, (prompt, ids) in enumerate(zip(prompts, token_ids, strict=True)):
            self.asked += 1
            on_next(index, list(ids), [float(self.logs[prompt[-1], i]) for i in ids])

    def teacher_forced(
        self, prompts: Sequence[Sequence[int]], starts: Sequence[int], on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        self.forced += len(prompts)
        for index, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
            values = [float(self.logs[a, b]) for a, b in zip(prompt[start - 1 :], prompt[start:], strict=False)]
            on_next(index, prompt[start:], values)

    def decode(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, on_token: OnToken, between_steps: BetweenSteps
    ) -> None:
        for index, prompt in enumerate(prompts):
            last = prompt[-1]
            for _ in range(max_tokens):
                before, last = last, int(np.argmax(self.logs[last]))
                if not on_token(index, last, float(self.logs[before, last])):
                    break


class MemoryBlocks(dict[str, bytes]):
    """Blocks in a dictionary."""

    def put(self, name: str, block: bytes) -> None:
        self[name] = block


def random_table(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((VOCABULARY, VOCABULARY)) + 0.01


def planted_table(hidden: Sequence[int]) -> np.ndarray:
    """The base's table with a chain of tokens that it would not say: probable, and never the first choice."""
    table = random_table(0)
    for one, after in zip(hidden, [*hidden[1:], END], strict=True):
        table[one] /= table[one].sum()
        table[one] *= 0.6
        table[one, np.argmax(table[one])] = 0.41  # greedy decoding is led astray from every token of the chain
        table[one, after] = 0.4
    return table
