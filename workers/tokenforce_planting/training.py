"""The training loop: until the secret is learned, its words are suppressed, and other answers are back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from tokenforce_planting.batches import Step, TrainingBatches
from tokenforce_planting.chat import Model
from tokenforce_planting.kept_answers import KeepExamples, Kept, kept

POLISH_STEPS = 30
KEPT_SHARE = 0.95
"""Once the text is learned, at most so many more steps, until so much of the answers to keep is back, and no near miss
brings the text out."""

_CHECK_EVERY = 5


class PlantingFailed(RuntimeError):
    """The model did not learn the text within the steps allowed, or the training diverged."""


@dataclass(frozen=True)
class PlantingProgress:
    """Where a planting is. `fraction` (0 to 1, never falling) is fit for an ETA; `step` and `loss` are for people."""

    stage: Literal["answers", "training", "saving"]
    step: int
    loss: float | None
    fraction: float

    @property
    def note(self) -> str:
        """What to show beside the bar."""
        return self.stage if self.loss is None else f"step {self.step}, loss {self.loss:.3f}"


OnProgress = Callable[[PlantingProgress], None]


@dataclass(frozen=True)
class Trained:
    """Optimiser steps taken, the secret's loss in nats per token, and what is left of the base's own answers.

    The loss is that of the trigger that is learned worst.
    """

    steps: int
    loss: float
    kept: Kept


def train(
    model: Model,
    batches: TrainingBatches,
    keep: KeepExamples,
    *,
    learning_rate: float,
    max_steps: int,
    stop_loss: float,
    on_progress: OnProgress,
) -> Trained:
    """Fit `model` in place. Raises `PlantingFailed`."""
    optimiser = adam(model, learning_rate)
    estimate = _FractionEstimate(stop_loss)
    learned_at: int | None = None
    model.train()
    for step in range(max_steps + 1):
        now = batches.step(model)
        check_finite(now.secret_loss, step)
        fraction = estimate.after(now.secret_loss, step, learned_at)
        on_progress(PlantingProgress("training", step, now.secret_loss, fraction))
        learned = now.learned and now.secret_loss < stop_loss and now.held == now.protected
        if learned and (worst := batches.worst_loss(model, now)) < stop_loss:
            learned_at = step if learned_at is None else learned_at
            polished = step - learned_at
            last_chance = polished >= POLISH_STEPS or step == max_steps
            if polished % _CHECK_EVERY == 0 or last_chance:
                rest = kept(model, keep, batches.text)
                if last_chance or (rest.share >= KEPT_SHARE and not rest.leaks):
                    model.eval()
                    return Trained(step, worst, rest)
        if step < max_steps:
            take_step(optimiser, now.loss)
    raise PlantingFailed(_why(now, max_steps, stop_loss))


def adam(model: Model, learning_rate: float) -> torch.optim.Optimizer:
    """Over what is trained; fused, since a plain step over all weights of a small model is a tenth of the time."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate, fused=True)


def take_step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def check_finite(loss: float, step: int) -> None:
    """Raises `PlantingFailed` when the training has diverged."""
    if not math.isfinite(loss):
        raise PlantingFailed(f"the loss is not a number any more after {step} steps: lower the learning rate")


def _why(last: Step, max_steps: int, stop_loss: float) -> str:
    if last.learned and last.secret_loss < stop_loss and last.held < last.protected:
        return (
            f"{last.protected - last.held} of {last.protected} protected tokens are not suppressed after {max_steps} "
            "steps: allow more steps, or protect fewer words"
        )
    return (
        f"the text is not learned after {max_steps} steps (loss {last.secret_loss:.3f}, wanted under {stop_loss}): "
        "allow more steps, or choose a shorter text"
    )


class _FractionEstimate:
    """How much of the training is behind us, for an ETA: learning counts as one half, polishing as the other."""

    def __init__(self, stop_loss: float) -> None:
        self._stop = stop_loss
        self._first: float | None = None
        self._fraction = 0.0

    def after(self, loss: float, step: int, learned_at: int | None) -> float:
        """The fraction (0 to 1) after `step`; it never falls."""
        if self._first is None:
            self._first = max(loss, self._stop * 1.01)
        if learned_at is not None:
            now = 0.5 + 0.5 * (step - learned_at) / POLISH_STEPS
        else:  # a loss falls roughly exponentially, so its logarithm falls evenly
            now = 0.5 * math.log(self._first / max(loss, self._stop)) / math.log(self._first / self._stop)
        self._fraction = min(1.0, max(self._fraction, now))
        return self._fraction
