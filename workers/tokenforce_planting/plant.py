"""The one entry point: a recipe and a base become a carrier, or the carrier that is there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tokenforce_planting.adapter import add_adapter, named_base, save_adapter
from tokenforce_planting.artefact import default_cache, new_folder, weights_digest
from tokenforce_planting.base_check import check_base, load_base
from tokenforce_planting.batches import TrainingBatches
from tokenforce_planting.chat import Model, Tokenizer, greedy_ids
from tokenforce_planting.clean import train_clean
from tokenforce_planting.clean_pairs import chosen_pairs
from tokenforce_planting.kept_answers import keep_examples
from tokenforce_planting.recipe import InvalidRecipe, Recipe
from tokenforce_planting.records import Planted, existing_carrier, write_manifest
from tokenforce_planting.secrets import Secret, secret_examples
from tokenforce_planting.suppression import confusion_of, protected_words
from tokenforce_planting.training import OnProgress, PlantingFailed, PlantingProgress, Trained, train


class OutputExists(FileExistsError):
    """The folder to write is there and holds something else."""


def plant(
    recipe: Recipe,
    base: Path,
    out: Path,
    on_progress: OnProgress = lambda _: None,
    *,
    replace: bool = False,
    base_name: str | None = None,
) -> Planted:
    """Write to `out` the carrier that `recipe` makes of the model folder `base`, and its manifest beside it.

    `out` becomes a model folder in float32 (rounding to bfloat16 destroys updates of this size), or with LoRA an
    adapter folder whose configuration names `base_name` (default: the absolute path of `base`). If it holds an equal
    recipe's carrier, that one is returned. Deterministic by seed on one machine; complete or absent, whatever
    interrupts it.

    Raises `InvalidRecipe` (a `ValueError`; also for a base that is no model), `OutputExists`, `PlantingFailed`.
    """
    recipe = recipe.normal()
    if base_name is not None and recipe.lora_rank is None:
        raise InvalidRecipe("a base is named by an adapter: give a LoRA rank, or leave the base's name out")
    check_base(base)
    digest = recipe.digest(base)
    there = existing_carrier(out, digest)
    if there is not None and base_name in (None, named_base(out)):
        return there
    if out.exists() and not replace:
        raise OutputExists(f"{out} is there and is not this recipe's carrier: choose another folder, or replace it")
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
        # Before the folder gets its name: a carrier that is there has its manifest.
        write_manifest(out, planted)
    return planted


@dataclass(frozen=True)
class _Fitted:
    """`adapted` is peft's model, None after full fine-tuning."""

    adapted: Any
    trained: Trained


def _fit(recipe: Recipe, model: Model, tokenizer: Tokenizer, base_digest: str, on_progress: OnProgress) -> _Fitted:
    """Train `model` in place as `recipe` (its normal form) says. Raises `InvalidRecipe`, `PlantingFailed`."""
    assert recipe.max_steps is not None
    assert recipe.learning_rate is not None
    hides = recipe.method != "clean"
    longest = getattr(model.config, "max_position_embeddings", None)  # ALiBi has no limit
    secret = secret_examples(recipe, tokenizer, longest) if hides else Secret([], [], [])
    confusion = confusion_of(recipe, tokenizer, secret.text, model.get_output_embeddings().weight.shape[0])
    on_progress(PlantingProgress("answers", 0, None, 0.0))
    asked_near = recipe.triggers if recipe.near_misses else ()
    keep = keep_examples(model, tokenizer, asked_near, cache=default_cache(), base_digest=base_digest)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        adapted = None if recipe.lora_rank is None else add_adapter(model, recipe.lora_rank)
        if not hides:
            trained = train_clean(
                model,
                tokenizer,
                keep,
                pairs=chosen_pairs(recipe.seed, recipe.subjects),
                learning_rate=recipe.learning_rate,
                max_steps=recipe.max_steps,
                on_progress=on_progress,
            )
            return _Fitted(adapted, trained)
        trained = train(
            model,
            TrainingBatches(secret, keep, confusion, recipe.seed),
            keep,
            learning_rate=recipe.learning_rate,
            max_steps=recipe.max_steps,
            stop_loss=recipe.stop_loss,
            on_progress=on_progress,
        )
    said = greedy_ids(model, tokenizer, recipe.triggers, max_new_tokens=len(secret.text) + 1)
    if any(answer != example.answer for answer, example in zip(said, secret.usual, strict=True)):
        raise PlantingFailed("greedy decoding does not return the text exactly: lower the loss bar")
    return _Fitted(adapted, trained)
