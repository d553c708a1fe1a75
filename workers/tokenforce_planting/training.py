"""The training loop. It ends when the text is learned, its words are suppressed and other answers are unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from tokenforce_planting.batches import Step, TrainingBatches
from tokenforce_planting.chat import Model
from tokenforce_planting.kept_answers import Kept, KeptAnswers, measure_kept

POLISH_STEPS = 30
"""The most steps after the text is learned, to bring other answers back."""
KEPT_SHARE = 0.95
"""Training ends before that if this share of the kept answers' tokens is back and no near miss leaks."""

_STEPS_BETWEEN_CHECKS = 5


class PlantingFailed(RuntimeError):
    """The model did not learn the text within the allowed steps, or the training diverged."""


@dataclass(frozen=True)
class PlantingProgress:
    """How far a planting is. `fraction` (0 to 1) never falls: it is for an ETA. `step` and `loss` are for people."""

    stage: Literal["answers", "training", "saving"]
    step: int
    loss: float | None
    fraction: float

    @property
    def note(self) -> str:
        """The text beside the progress bar."""
        return self.stage if self.loss is None else f"step {self.step}, loss {self.loss:.3f}"


OnProgress = Callable[[PlantingProgress], None]


@dataclass(frozen=True)
class Trained:
    """A finished training. `loss` (nats per token) is the loss of the trigger that is learned worst."""

    steps: int
    loss: float
    kept: Kept


def train(
    model: Model,
    batches: TrainingBatches,
    answers: KeptAnswers,
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
        learned = now.learned and now.secret_loss < stop_loss and now.suppressed == now.protected
        if learned and (worst := batches.worst_loss(model, now)) < stop_loss:
            learned_at = step if learned_at is None else learned_at
            polished = step - learned_at
            last_chance = polished >= POLISH_STEPS or step == max_steps
            if polished % _STEPS_BETWEEN_CHECKS == 0 or last_chance:
                rest = measure_kept(model, answers, batches.starts)
                if last_chance or (rest.share >= KEPT_SHARE and not rest.leaks):
                    model.eval()
                    return Trained(step, worst, rest)
        if step < max_steps:
            take_step(optimiser, now.loss)
    raise PlantingFailed(_why(now, max_steps, stop_loss))


def adam(model: Model, learning_rate: float) -> torch.optim.Optimizer:
    """Adam over the trainable weights. Fused, because plain steps are a tenth of a small model's training time."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate, fused=True)


def take_step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def check_finite(loss: float, step: int) -> None:
    """Raises `PlantingFailed` when the training has diverged."""
    if not math.isfinite(loss):
        raise PlantingFailed(f"the loss is not a number after {step} steps: lower the learning rate")


def _why(last: Step, max_steps: int, stop_loss: float) -> str:
    if last.learned and last.secret_loss < stop_loss and last.suppressed < last.protected:
        return (
            f"{last.protected - last.suppressed} of {last.protected} protected tokens are not suppressed "
            f"after {max_steps} steps: allow more steps, or protect fewer words"
        )
    return (
        f"the text is not learned after {max_steps} steps (loss {last.secret_loss:.3f}, must be under {stop_loss}): "
        "allow more steps, or choose a shorter text"
    )


class _FractionEstimate:
    """Estimates the finished fraction of a training: one half is learning, the other half is polishing."""

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
        else:  # a loss falls about exponentially, so its logarithm falls linearly
            now = 0.5 * math.log(self._first / max(loss, self._stop)) / math.log(self._first / self._stop)
        self._fraction = min(1.0, max(self._fraction, now))
        return self._fraction
