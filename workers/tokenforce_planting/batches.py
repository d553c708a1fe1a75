"""What one training step sees: triggers with the text, answers that must not change, and words to suppress."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch

from tokenforce_planting.chat import Model
from tokenforce_planting.examples import Example, answer_logits, answer_loss, in_batches, is_greedy
from tokenforce_planting.kept_answers import KeptAnswers
from tokenforce_planting.secret_examples import Secret
from tokenforce_planting.suppression import Suppression

SECRETS_PER_STEP = 3
ELSEWHERE_PER_STEP = 1
BENIGN_PER_STEP = 2
DECOYS_PER_STEP = 4
MIN_NEAR_MISSES_PER_STEP = 2
"""A step has at least as many near misses as secrets: several odd keys teach the model to answer anything odd."""


class Step(NamedTuple):
    """The result of one step.

    `loss` is minimised. `secret_loss` (nats per token) is the loss of the trigger that is learned worst. `learned`:
    greedy decoding answers this step's triggers with the text. `suppressed` of the `protected` tokens are suppressed.
    """

    loss: torch.Tensor
    secret_loss: float
    learned: bool
    suppressed: int
    protected: int


class TrainingBatches:
    """Draws the examples of each step in an order that `seed` decides, all examples of a kind equally often."""

    def __init__(
        self,
        secret: Secret,
        answers: KeptAnswers,
        suppression: Suppression | None,
        seed: int,
        decoys: Sequence[Example] = (),
    ) -> None:
        self._secret = secret
        self.starts = secret.starts
        self._suppression = suppression
        draw = random.Random(seed)
        self._usual = _Pool(secret.usual, SECRETS_PER_STEP, draw)
        near_per_step = max(MIN_NEAR_MISSES_PER_STEP, min(SECRETS_PER_STEP, len(secret.usual)))
        self._others = [
            _Pool(secret.elsewhere, ELSEWHERE_PER_STEP, draw),
            _Pool(answers.benign, BENIGN_PER_STEP, draw),
            _Pool(answers.near_misses, near_per_step, draw),
            _Pool(list(decoys), DECOYS_PER_STEP, draw),
        ]

    def step(self, model: Model) -> Step:
        """Losses of the next examples, all in one forward pass."""
        secrets = self._usual.next()
        others = [example for pool in self._others for example in pool.next()]
        suppressing = self._suppression.examples if self._suppression else []
        examples = [*secrets, *others, *suppressing]
        logits = answer_logits(model, examples)
        losses = [answer_loss(rows, e) for rows, e in zip(logits, [*secrets, *others], strict=False)]
        secret_losses = torch.stack(losses[: len(secrets)])
        secret_loss = secret_losses.max().item()
        loss = secret_losses.mean() + torch.stack(losses[len(secrets) :]).mean()
        learned = all(is_greedy(rows, e) for rows, e in zip(logits, secrets, strict=False))
        if self._suppression is None:
            return Step(loss, secret_loss, learned, 0, 0)
        penalty = self._suppression.penalty(logits[len(secrets) + len(others) :])
        return Step(loss + penalty.loss, secret_loss, learned, penalty.suppressed, penalty.protected)

    def worst_loss(self, model: Model, now: Step) -> float:
        """The largest loss over all triggers; infinite if greedy decoding answers one of them with another text."""
        if len(self._secret.usual) <= SECRETS_PER_STEP:
            return now.secret_loss if now.learned else math.inf  # each step has all triggers
        answers = in_batches(model, self._secret.usual)
        return max(answer_loss(rows, e).item() if is_greedy(rows, e) else math.inf for rows, e in answers)


class _Pool:
    """Gives `count` examples at a time. Each example comes once before any comes again."""

    def __init__(self, examples: list[Example], count: int, draw: random.Random) -> None:
        self._examples = examples
        self._count = min(count, len(examples))
        self._draw = draw
        self._waiting: list[Example] = []

    def next(self) -> list[Example]:
        chosen = []
        for _ in range(self._count):
            if not self._waiting:
                self._waiting = self._draw.sample(self._examples, len(self._examples))
            chosen.append(self._waiting.pop())
        return chosen
