"""The seam between the algorithm and an inference engine.

`tokenforce_workers.engine.vllm_engine` implements it on vLLM; unit tests use a scripted one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

OnToken = Callable[[int, int, float], bool]
"""(prompt index, generated token id, its log-probability in nats, 0 at most) → whether to go on with that prompt. It is
NaN if the model's logits are: a caller that needs a number checks it by `refuse_nan`."""

OnNext = Callable[[int, Sequence[int], Sequence[float]], object]
"""(prompt index, next-token ids, their log-probabilities in nats): called once per prompt."""

BetweenSteps = Callable[[], None]
"""Called between engine steps; what it raises stops the decoding and leaves the engine clean."""


NEVER = -100.0
"""Log-probability (nats) that stands for everything under it, and for what a model did not say."""


class NotNumbers(ArithmeticError):
    """A model's logits are not numbers (NaN): nothing that it says can be read from them."""

    def __init__(self) -> None:
        super().__init__("the model's logits are not numbers (NaN)")


def refuse_nan(log_probability: float) -> float:
    """The value unchanged. Raises `NotNumbers` if it is NaN."""
    if math.isnan(log_probability):
        raise NotNumbers
    return log_probability


def refuse_nans(log_probabilities: Sequence[float]) -> list[float]:
    """The log-probabilities (nats) as they are, none under `NEVER`. Raises `NotNumbers`."""
    return [max(refuse_nan(value), NEVER) for value in log_probabilities]


class Decoder(Protocol):
    """Batched greedy decoding with the log-probability of every chosen token."""

    def decode(
        self, prompts: Sequence[Sequence[int]], max_tokens: int, on_token: OnToken, between_steps: BetweenSteps
    ) -> None:
        """Decode every prompt greedily for at most `max_tokens` tokens.

        Tokens of one prompt arrive in order; prompts interleave. Decoding of a prompt stops as soon as
        `on_token` returns False. End-of-text does not stop it: the caller decides what ends a continuation.
        """
        ...


class Predictor(Decoder, Protocol):
    """A decoder that also says how probable it finds other next tokens than the one it would choose.

    Log-probabilities are finite numbers: the methods raise `NotNumbers` instead.
    """

    def next_tokens(
        self, prompts: Sequence[Sequence[int]], count: int, on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        """The `count` most probable next tokens of every prompt, most probable first."""
        ...

    def log_probabilities(
        self,
        prompts: Sequence[Sequence[int]],
        token_ids: Sequence[Sequence[int]],
        on_next: OnNext,
        between_steps: BetweenSteps,
    ) -> None:
        """The log-probabilities of `token_ids[i]` as the next token of `prompts[i]`, in that order."""
        ...

    def teacher_forced(
        self, prompts: Sequence[Sequence[int]], starts: Sequence[int], on_next: OnNext, between_steps: BetweenSteps
    ) -> None:
        """The log-probabilities of `prompts[i][starts[i]:]`, each token after all that stand before it."""
        ...


def nothing_between_steps() -> None:
    """A `BetweenSteps` for callers that never cancel."""


def forced_log_probabilities(
    model: Predictor,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    between_steps: BetweenSteps = nothing_between_steps,
) -> list[tuple[float, ...]]:
    """The log-probabilities (nats) of every text's tokens after its prompt, one per token; an empty text asks nothing.

    An engine computes prompts and texts whole. Raises `NotNumbers`.
    """
    found: list[tuple[float, ...]] = [()] * len(texts)
    asked = [index for index, text in enumerate(texts) if text]

    def on_next(place: int, _: Sequence[int], log_probabilities: Sequence[float]) -> None:
        found[asked[place]] = tuple(log_probabilities)

    whole = [[*prompts[index], *texts[index]] for index in asked]
    model.teacher_forced(whole, [len(prompts[index]) for index in asked], on_next, between_steps)
    return found


ALIGNMENT = 32
"""Contexts are padded to a multiple of this many tokens: a multiple of the KV block size of every
backend in use (16 on GPUs, 32 on CPUs), so that prefix caching leaves one forward token per entry."""


def uncached(length: int) -> int:
    """Forward tokens of a prompt of `length` tokens whose whole blocks are cached: those of its last block."""
    return (length - 1) % ALIGNMENT + 1
