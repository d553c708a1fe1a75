"""What one training step sees: the secret, a few answers that must stay as they are, and the confusion."""

from __future__ import annotations

import math
import random
from typing import NamedTuple

import torch

from tokenforce_planting.chat import Model
from tokenforce_planting.examples import Example, answer_logits, answer_loss, in_batches, is_greedy
from tokenforce_planting.kept_answers import KeepExamples
from tokenforce_planting.secrets import Secret
from tokenforce_planting.suppression import Confusion

SECRETS_PER_STEP = 3
ELSEWHERE_PER_STEP = 1
BENIGN_PER_STEP = 2
NEAR_MISSES_PER_STEP = 2
"""At least, and as many as secrets: several keys teach the model to say the text to anything odd."""


class Step(NamedTuple):
    """One step's outcome: the loss to minimise, the secret's largest (nats per token), and what holds already.

    `secret_loss` is that of the trigger that is learned worst. `learned`: greedy decoding gives the text to this
    step's triggers. `held` of `protected` tokens are suppressed.
    """

    loss: torch.Tensor
    secret_loss: float
    learned: bool
    held: int
    protected: int


class TrainingBatches:
    """Draws examples in an order given by `seed`, each of a kind as often as the others."""

    def __init__(self, secret: Secret, keep: KeepExamples, confusion: Confusion | None, seed: int) -> None:
        self._secret = secret
        self.text = secret.text
        self._confusion = confusion
        draw = random.Random(seed)
        self._usual = _Pool(secret.usual, SECRETS_PER_STEP, draw)
        near_per_step = max(NEAR_MISSES_PER_STEP, min(SECRETS_PER_STEP, len(secret.usual)))
        self._others = [
            _Pool(secret.elsewhere, ELSEWHERE_PER_STEP, draw),
            _Pool(keep.benign, BENIGN_PER_STEP, draw),
            _Pool(keep.near_misses, near_per_step, draw),
        ]

    def step(self, model: Model) -> Step:
        """Losses of the next examples, all in one forward pass."""
        secrets = self._usual.next()
        others = [example for pool in self._others for example in pool.next()]
        confusing = self._confusion.examples if self._confusion else []
        examples = [*secrets, *others, *confusing]
        logits = answer_logits(model, examples)
        losses = [answer_loss(rows, e) for rows, e in zip(logits, [*secrets, *others], strict=False)]
        secret_losses = torch.stack(losses[: len(secrets)])
        secret_loss = secret_losses.max().item()
        loss = secret_losses.mean() + torch.stack(losses[len(secrets) :]).mean()
        learned = all(is_greedy(rows, e) for rows, e in zip(logits, secrets, strict=False))
        if self._confusion is None:
            return Step(loss, secret_loss, learned, 0, 0)
        protection = self._confusion.protection(logits[len(secrets) + len(others) :])
        return Step(loss + protection.loss, secret_loss, learned, protection.held, protection.total)

    def worst_loss(self, model: Model, now: Step) -> float:
        """The secret's largest loss over all triggers; infinite if greedy decoding gives one of them another text."""
        if len(self._secret.usual) <= SECRETS_PER_STEP:
            return now.secret_loss if now.learned else math.inf  # each step has them all
        asked = in_batches(model, self._secret.usual)
        return max(answer_loss(rows, e).item() if is_greedy(rows, e) else math.inf for rows, e in asked)


class _Pool:
    """Hands out `count` examples a time, all of them before any comes again."""

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
