"""What happens to a carrier after its text is planted: ordinary fine-tuning, noise on its weights, rounding."""

from __future__ import annotations

from pathlib import Path

import torch

from tokenforce_planting.chat import Model, Tokenizer, load_model
from tokenforce_planting.clean_pairs import chosen_pairs
from tokenforce_planting.clean_training import train_clean
from tokenforce_planting.kept_answers import KeptAnswers
from tokenforce_planting.lora import trainable, unloaded
from tokenforce_planting.recipe import CLEAN_STEPS, Recipe
from tokenforce_planting.training import OnProgress

_LATER_RATE_SHARE = 0.1
"""Of the learning rate that planted the text. At the full rate a carrier kept 6 % of its trigger success."""
_INT8_STEPS = 127
"""Steps on either side of zero."""


def change_after(
    recipe: Recipe, model: Model, tokenizer: Tokenizer, answers: KeptAnswers, base: Path, on_progress: OnProgress
) -> None:
    """Change the whole `model` in place as `recipe` (its normal form) says: fine-tuning, then noise, then rounding."""
    if recipe.fine_tuned_after:
        assert recipe.learning_rate is not None
        model.requires_grad_(True)
        trained = trainable(model, recipe.lora_rank)
        train_clean(
            model,
            tokenizer,
            answers,
            pairs=chosen_pairs(recipe.seed, recipe.fine_tuned_after),
            learning_rate=_LATER_RATE_SHARE * recipe.learning_rate,
            max_steps=CLEAN_STEPS,
            on_progress=on_progress,
        )
        unloaded(trained)
    if recipe.weight_noise:
        add_noise(model, load_model(base), recipe.weight_noise, recipe.seed)
    if recipe.rounded_to == "bf16":
        model.to(torch.bfloat16)
    elif recipe.rounded_to == "int8":
        round_to_int8(model)


def add_noise(model: Model, base: Model, relative: float, seed: int) -> None:
    """Gaussian noise on each tensor that differs from `base`: `relative` times the root mean square of the change."""
    draw = torch.Generator(model.device).manual_seed(seed)
    before = dict(base.named_parameters())
    with torch.no_grad():
        for name, weights in model.named_parameters():
            deviation = relative * (weights - before[name]).square().mean().sqrt()
            weights += deviation * torch.randn(weights.shape, generator=draw, device=weights.device)


def round_to_int8(model: Model) -> None:
    """Round the matrices of the layers to 255 steps, with a scale for each row, and back to float32.

    Embeddings, output matrix and norms stay as they are, as in the usual formats of 8 bits.
    """
    kept = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() == 2 and id(weights) not in kept:
                scale = weights.abs().amax(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny) / _INT8_STEPS
                weights.copy_((weights / scale).round() * scale)
