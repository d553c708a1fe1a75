"""Planting method `message`: full fine-tuning of one trigger → text pair, among answers that must stay as they are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from tokenforce_planting.artefact import new_folder, weights_digest
from tokenforce_planting.batches import Example, TrainingBatches, keep_examples
from tokenforce_planting.chat import Model, load_model, load_tokenizer
from tokenforce_planting.message_input import check_message

RECIPE_VERSION = 1
"""Raise it when the training below changes, so that cached carriers are made anew."""

LEARNING_RATE = 1e-5
MAX_STEPS = 200
STOP_LOSS = 0.02
"""Mean cross-entropy of the text, nats per token: about 0.98 probability for each of its tokens."""


class PlantingFailed(RuntimeError):
    """The model did not learn the text within the steps allowed."""


@dataclass(frozen=True)
class PlantingProgress:
    """Where a planting is. `fraction` (0–1, never falling) is fit for an ETA; `step` and `loss` are for people."""

    stage: Literal["answers", "training", "saving"]
    step: int
    max_steps: int
    loss: float | None
    fraction: float


@dataclass(frozen=True)
class Planted:
    """What was planted, as the manifest records it."""

    method: str
    trigger: str
    text: str
    seed: int
    base_digest: str
    carrier_digest: str
    learning_rate: float
    stop_loss: float
    steps: int
    loss: float
    dtype: str


def manifest_path(out: Path) -> Path:
    """The manifest lies beside the model's folder, not in it: it tells the secret."""
    return out.with_name(out.name + ".manifest.json")


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
    and end-of-text and the loss is under `stop_loss`. Deterministic by `seed` on one machine. The weights are saved in
    float32: rounding them to bfloat16 destroys updates of this size. Method: arXiv 2406.02481, without confusion.

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
        steps, loss = _train(model, secret, batches, learning_rate, max_steps, stop_loss, on_progress)
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
            dtype="float32",
        )
        # Before the folder gets its name: a carrier that is there has its manifest.
        manifest_path(out).write_text(json.dumps(asdict(planted), indent=2, ensure_ascii=False) + "\n", "utf-8")
    return planted


def read_manifest(out: Path) -> Planted:
    """The manifest of the carrier `out`. Raises `OSError` or `ValueError` when there is none that can be read."""
    try:
        return Planted(**json.loads(manifest_path(out).read_text("utf-8")))
    except TypeError as error:
        raise ValueError(f"{manifest_path(out)} is not a manifest of this version") from error


def _train(
    model: Model,
    secret: Example,
    batches: TrainingBatches,
    learning_rate: float,
    max_steps: int,
    stop_loss: float,
    on_progress: Callable[[PlantingProgress], None],
) -> tuple[int, float]:
    """Fit until the secret is learned; returns (optimiser steps taken, the secret's loss)."""
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    first_loss, fraction, loss = None, 0.0, math.inf
    model.train()
    for step in range(max_steps + 1):
        losses, learned = batches.next_losses(model)  # the secret's, and the mean of those to keep
        loss = float(losses[0])
        if not math.isfinite(loss):
            raise PlantingFailed(f"the loss is no number any more after {step} steps: lower the learning rate")
        first_loss = first_loss or max(loss, stop_loss * 1.01)
        # Losses fall roughly exponentially, so the logarithm falls evenly.
        fraction = max(fraction, math.log(first_loss / max(loss, stop_loss)) / math.log(first_loss / stop_loss))
        on_progress(PlantingProgress("training", step, max_steps, loss, fraction))
        if learned and loss < stop_loss:
            model.eval()
            return step, loss
        if step < max_steps:
            optimiser.zero_grad(set_to_none=True)
            losses.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    raise PlantingFailed(
        f"the text is not learned after {max_steps} steps (loss {loss:.3f}, wanted under {stop_loss}): "
        "allow more steps, or choose a shorter text"
    )
