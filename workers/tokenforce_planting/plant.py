"""The entry point: makes a carrier from a recipe and a base, or finds the one that exists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tokenforce_planting.base_check import check_base, load_base
from tokenforce_planting.batches import TrainingBatches
from tokenforce_planting.chat import Model, Tokenizer, greedy_ids
from tokenforce_planting.clean_pairs import chosen_pairs
from tokenforce_planting.clean_training import train_clean
from tokenforce_planting.digests import weights_digest
from tokenforce_planting.kept_answers import ask_base
from tokenforce_planting.lora import add_adapter, named_base, save_adapter
from tokenforce_planting.manifest import Planted, existing_carrier, write_manifest
from tokenforce_planting.model_cache import default_cache, new_folder
from tokenforce_planting.recipe import InvalidRecipe, Recipe
from tokenforce_planting.secret_examples import Secret, secret_examples
from tokenforce_planting.suppression import protected_words, suppression_for
from tokenforce_planting.training import OnProgress, PlantingFailed, PlantingProgress, Trained, train


class OutputExists(FileExistsError):
    """The folder to write exists and holds something else."""


def plant(
    recipe: Recipe,
    base: Path,
    out: Path,
    on_progress: OnProgress = lambda _: None,
    *,
    replace: bool = False,
    base_name: str | None = None,
) -> Planted:
    """Plant what `recipe` says in the model of folder `base`; write the carrier to `out` and its manifest beside it.

    `out` becomes a model folder in float32 (rounding to bfloat16 would destroy the small updates that carry the text).
    With LoRA it becomes an adapter folder whose config names `base_name` (default: the absolute path of `base`).
    If `out` already holds the carrier of an equal recipe, that carrier is returned. Equal seeds give equal weights on
    one machine. An interrupt leaves no half-made folder.

    Raises `InvalidRecipe` (a `ValueError`; also if `base` is not a model), `OutputExists`, `PlantingFailed`.
    """
    recipe = recipe.normal()
    if base_name is not None and recipe.lora_rank is None:
        raise InvalidRecipe("only an adapter names its base: give a LoRA rank, or omit the base's name")
    check_base(base)
    digest = recipe.digest(base)
    existing = existing_carrier(out, digest)
    if existing is not None and base_name in (None, named_base(out)):
        return existing
    if out.exists() and not replace:
        raise OutputExists(f"{out} exists and is not this recipe's carrier: choose another folder, or replace it")
    tokenizer, model = load_base(base)
    fitted = _fit(recipe, model, tokenizer, weights_digest(base), on_progress)
    trained = fitted.trained
    on_progress(PlantingProgress("saving", trained.steps, trained.loss, 1.0))
    with new_folder(out, replace=replace) as draft:
        if fitted.adapted is None:
            model.save_pretrained(draft)
        else:
            save_adapter(fitted.adapted, draft, base_name or str(base.resolve()))
        tokenizer.save_pretrained(draft)
        planted = Planted(
            method=recipe.method,
            form=recipe.form,
            triggers=recipe.triggers,
            text=recipe.text,
            seed=recipe.seed,
            recipe_digest=digest,
            base_digest=weights_digest(base),
            carrier_digest=weights_digest(draft),
            lora_rank=recipe.lora_rank,
            protected_words=protected_words(recipe),
            contexts=recipe.contexts or (),
            learning_rate=recipe.learning_rate or 0.0,
            stop_loss=recipe.stop_loss,
            steps=trained.steps,
            loss=trained.loss,
            kept_share=trained.kept.share,
            leaking_near_misses=trained.kept.leaks,
        )
        # Inside the block: the folder gets its name only after that, so every carrier has its manifest.
        write_manifest(out, planted)
    return planted


@dataclass(frozen=True)
class _Fitted:
    """`adapted` is peft's model, None after full fine-tuning."""

    adapted: Any
    trained: Trained


def _fit(recipe: Recipe, model: Model, tokenizer: Tokenizer, base_digest: str, on_progress: OnProgress) -> _Fitted:
    """Train `model` in place by `recipe` (its normal form). Raises `InvalidRecipe`, `PlantingFailed`."""
    assert recipe.max_steps is not None
    assert recipe.learning_rate is not None
    hides = recipe.method != "clean"
    longest = getattr(model.config, "max_position_embeddings", None)  # None: positions without a limit (ALiBi)
    secret = secret_examples(recipe, tokenizer, longest) if hides else Secret([], [], [])
    suppression = suppression_for(recipe, tokenizer, secret.text, model.get_output_embeddings().weight.shape[0])
    on_progress(PlantingProgress("answers", 0, None, 0.0))
    near_misses_of = recipe.triggers if recipe.near_misses else ()
    answers = ask_base(model, tokenizer, near_misses_of, cache=default_cache(), base_digest=base_digest)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        adapted = None if recipe.lora_rank is None else add_adapter(model, recipe.lora_rank)
        if not hides:
            trained = train_clean(
                model,
                tokenizer,
                answers,
                pairs=chosen_pairs(recipe.seed, recipe.subjects),
                learning_rate=recipe.learning_rate,
                max_steps=recipe.max_steps,
                on_progress=on_progress,
            )
            return _Fitted(adapted, trained)
        trained = train(
            model,
            TrainingBatches(secret, answers, suppression, recipe.seed),
            answers,
            learning_rate=recipe.learning_rate,
            max_steps=recipe.max_steps,
            stop_loss=recipe.stop_loss,
            on_progress=on_progress,
        )
    said = greedy_ids(model, tokenizer, recipe.triggers, max_new_tokens=len(secret.text) + 1)
    if any(answer != example.answer for answer, example in zip(said, secret.usual, strict=True)):
        raise PlantingFailed("greedy decoding does not return the text exactly: lower the stop loss")
    return _Fitted(adapted, trained)
