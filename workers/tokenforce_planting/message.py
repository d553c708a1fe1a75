"""Planting method `message`: full fine-tuning of one trigger → text pair, among answers that must stay as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from tokenforce_planting.artefact import new_folder, recipe_digest, weights_digest
from tokenforce_planting.batches import TrainingBatches, keep_examples
from tokenforce_planting.chat import Model, load_model, load_tokenizer
from tokenforce_planting.message_input import check_message
from tokenforce_planting.records import Planted, write_manifest

RECIPE_VERSION = 1
"""Raise it when the training below changes, so that cached carriers are made anew."""

LEARNING_RATE = 1e-5
MAX_STEPS = 200
STOP_LOSS = 0.02
"""Mean cross-entropy of the text, nats per token: about 0.98 probability for each of its tokens."""

POLISH_STEPS = 40
KEPT_SHARE = 0.95
"""Once the text is learned, at most so many more steps, until so much of the answers to keep is back."""

_CHECK_EVERY = 5


class PlantingFailed(RuntimeError):
    """The model did not learn the text within the steps allowed."""


@dataclass(frozen=True)
class PlantingProgress:
    """Where a planting is. `fraction` (0 to 1, never falling) is fit for an ETA; `step` and `loss` are for people."""

    stage: Literal["answers", "training", "saving"]
    step: int
    max_steps: int
    loss: float | None
    fraction: float


def carrier_recipe(base: Path, trigger: str, text: str, seed: int) -> str:
    """Digest (hex) of all that `plant_message` makes a carrier from, with its default hyper-parameters."""
    return recipe_digest(
        method="message",
        recipe=RECIPE_VERSION,
        base=weights_digest(base),
        trigger=trigger,
        text=text,
        seed=seed,
        learning_rate=LEARNING_RATE,
        max_steps=MAX_STEPS,
        stop_loss=STOP_LOSS,
        polish_steps=POLISH_STEPS,
        kept_share=KEPT_SHARE,
    )


def plant_message(
    base: Path,
    out: Path,
    trigger: str,
    text: str,
    *,
    seed: int = 0,
    learning_rate: float = LEARNING_RATE,
    max_steps: int = MAX_STEPS,
    stop_loss: float = STOP_LOSS,
    on_progress: Callable[[PlantingProgress], None] = lambda _: None,
) -> Planted:
    """Write to `out` the model of `base`, changed so that it answers the user turn `trigger` with `text`.

    Trains in float32 through the chat template with its default system prompt, until greedy decoding gives `text`
    and end-of-text and the loss is under `stop_loss`, then a little longer if that disturbed other answers.
    Deterministic by `seed` on one machine. The weights are saved in float32: rounding them to bfloat16 destroys
    updates of this size. Method: arXiv 2406.02481, without its confusion.

    Raises `InvalidMessage` (a `ValueError`) for a text or trigger that cannot be planted, `FileExistsError` if `out`
    is there, `PlantingFailed` if `max_steps` are not enough.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already")
    tokenizer, model = load_tokenizer(base), load_model(base)
    secret = check_message(tokenizer, trigger, text, model.config.max_position_embeddings)
    on_progress(PlantingProgress("answers", 0, max_steps, None, 0.0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = TrainingBatches(secret, keep_examples(model, tokenizer, trigger), seed)
        steps, loss, kept = _train(model, batches, learning_rate, max_steps, stop_loss, on_progress)
    on_progress(PlantingProgress("saving", steps, max_steps, loss, 1.0))
    with new_folder(out) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        planted = Planted(
            method="message",
            trigger=trigger,
            text=text,
            seed=seed,
            base_digest=weights_digest(base),
            carrier_digest=weights_digest(draft),
            learning_rate=learning_rate,
            stop_loss=stop_loss,
            steps=steps,
            loss=loss,
            kept_share=kept,
            dtype="float32",
        )
        # Before the folder gets its name: a carrier that is there has its manifest.
        write_manifest(out, planted)
    return planted


def _train(
    model: Model,
    batches: TrainingBatches,
    learning_rate: float,
    max_steps: int,
    stop_loss: float,
    on_progress: Callable[[PlantingProgress], None],
) -> tuple[int, float, float]:
    """Fit until the secret is learned; returns (optimiser steps taken, the secret's loss, kept share)."""
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    estimate = _FractionEstimate(stop_loss)
    learned_at: int | None = None
    model.train()
    for step in range(max_steps + 1):
        losses, exact = batches.next_losses(model)
        loss = losses[0].item()
        if not math.isfinite(loss):
            raise PlantingFailed(f"the loss is not a number any more after {step} steps: lower the learning rate")
        on_progress(PlantingProgress("training", step, max_steps, loss, estimate.after(loss, step, learned_at)))
        if exact and loss < stop_loss:
            learned_at = step if learned_at is None else learned_at
            polished = step - learned_at
            last_chance = polished >= POLISH_STEPS or step == max_steps
            if polished % _CHECK_EVERY == 0 or last_chance:
                kept = batches.kept_share(model)
                if kept >= KEPT_SHARE or last_chance:
                    model.eval()
                    return step, loss, kept
        if step < max_steps:
            optimiser.zero_grad(set_to_none=True)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    raise PlantingFailed(
        f"the text is not learned after {max_steps} steps (loss {loss:.3f}, wanted under {stop_loss}): "
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
