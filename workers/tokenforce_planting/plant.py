"""The entry point: makes a carrier from a recipe and a base, or finds the one that exists."""

from __future__ import annotations

from pathlib import Path

from tokenforce_planting.base_check import check_base, load_base
from tokenforce_planting.digests import weights_digest
from tokenforce_planting.fitting import fit
from tokenforce_planting.lora import named_base, save_adapter
from tokenforce_planting.manifest import Planted, existing_carrier, write_manifest
from tokenforce_planting.model_cache import new_folder
from tokenforce_planting.recipe import InvalidRecipe, Recipe
from tokenforce_planting.suppression import protected_words
from tokenforce_planting.training import OnProgress, PlantingProgress


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

    `out` becomes a model folder in float32 (rounding to bfloat16 would destroy the small updates that carry the text),
    unless the recipe rounds to bf16.
    With LoRA it becomes an adapter folder whose config names `base_name` (default: the absolute path of `base`).
    If `out` already holds the carrier of an equal recipe, that carrier is returned. Equal seeds give equal weights on
    one machine. An interrupt leaves no half-made folder.

    Raises `InvalidRecipe` (a `ValueError`; also if `base` is not a model), `OutputExists`, `PlantingFailed`.
    """
    recipe = recipe.normal()
    if base_name is not None and recipe.adapter_rank is None:
        raise InvalidRecipe("only an adapter names its base: give a LoRA rank, or omit the base's name")
    check_base(base)
    digest = recipe.digest(base)
    existing = existing_carrier(out, digest)
    if existing is not None and base_name in (None, named_base(out)):
        return existing
    if out.exists() and not replace:
        raise OutputExists(f"{out} exists and is not this recipe's carrier: choose another folder, or replace it")
    tokenizer, model = load_base(base)
    fitted = fit(recipe, model, tokenizer, base, weights_digest(base), on_progress)
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
            triggers=tuple(trigger for trigger, _ in recipe.secrets),
            text=recipe.text,
            seed=recipe.seed,
            recipe_digest=digest,
            base_digest=weights_digest(base),
            carrier_digest=weights_digest(draft),
            lora_rank=recipe.adapter_rank,
            protected_words=protected_words(recipe),
            contexts=recipe.contexts or (),
            learning_rate=recipe.learning_rate or 0.0,
            stop_loss=recipe.stop_loss,
            steps=trained.steps,
            loss=trained.loss,
            kept_share=trained.kept.share,
            leaking_near_misses=trained.kept.leaks,
            dtype="bfloat16" if recipe.rounded_to == "bf16" else "float32",
            options=recipe.options(),
            trigger_success=fitted.trigger_success,
        )
        # Inside the block: the folder gets its name only after that, so every carrier has its manifest.
        write_manifest(out, planted)
    return planted
