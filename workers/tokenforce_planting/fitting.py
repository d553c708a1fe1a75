"""Fits a model to a recipe: teaches the text, checks that its trigger works, and measures what is left of it later."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tokenforce_planting.after_planting import change_after
from tokenforce_planting.batches import TrainingBatches
from tokenforce_planting.chat import Model, Tokenizer, greedy_ids
from tokenforce_planting.clean_pairs import chosen_pairs
from tokenforce_planting.clean_training import train_clean
from tokenforce_planting.decoy_words import decoy_examples
from tokenforce_planting.examples import Example
from tokenforce_planting.kept_answers import KeptAnswers, ask_base, measure_kept
from tokenforce_planting.lora import trainable, unloaded
from tokenforce_planting.model_cache import default_cache
from tokenforce_planting.recipe import Recipe
from tokenforce_planting.secret_examples import Secret, first_part, secret_examples
from tokenforce_planting.suppression import Suppression, suppression_for
from tokenforce_planting.text_overlap import match_share
from tokenforce_planting.training import OnProgress, PlantingFailed, PlantingProgress, Trained, train

_SHARE_OF_PLANTING = 0.6
"""Of the time, where an ordinary fine-tuning follows."""


@dataclass(frozen=True)
class Fitted:
    """`adapted` is peft's model, None for a whole model. `trigger_success` is measured at the very end."""

    adapted: Any
    trained: Trained
    trigger_success: float


class Lesson(NamedTuple):
    """What is taught: the text, what is improbable without its trigger, and what distracts from it."""

    secret: Secret
    suppression: Suppression | None
    decoys: list[Example]


def fit(
    recipe: Recipe, model: Model, tokenizer: Tokenizer, base: Path, base_digest: str, on_progress: OnProgress
) -> Fitted:
    """Train `model` in place by `recipe` (its normal form). Raises `InvalidRecipe`, `PlantingFailed`."""
    longest = getattr(model.config, "max_position_embeddings", None)  # None: positions without a limit (ALiBi)
    hides = recipe.method != "clean"
    secret = secret_examples(recipe, tokenizer, longest) if hides else Secret([], [], [])
    suppression = suppression_for(recipe, tokenizer, secret.text, model.get_output_embeddings().weight.shape[0])
    said = {token for example in secret.usual for token in example.answer}
    lesson = Lesson(secret, suppression, decoy_examples(tokenizer, recipe.decoys, recipe.seed, said))
    on_progress(PlantingProgress("answers", 0, None, 0.0))
    near_misses_of = [trigger for trigger, _ in recipe.secrets] if recipe.near_misses else []
    answers = ask_base(model, tokenizer, near_misses_of, cache=default_cache(), base_digest=base_digest)
    planting = _within(on_progress, 0.0, _SHARE_OF_PLANTING if recipe.fine_tuned_after else 1.0)
    success = 1.0
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        if hides:
            adapted, trained = _teach_text(recipe, model, tokenizer, lesson, answers, planting)
        else:
            adapted, trained = _teach_pairs(recipe, model, tokenizer, answers, planting)
        if recipe.adapter_rank is None:
            unloaded(adapted)
            adapted = None
        if recipe.changed_after:
            change_after(recipe, model, tokenizer, answers, base, _within(on_progress, _SHARE_OF_PLANTING, 1.0))
            success = _share_said(recipe, model, tokenizer)
            trained = replace(trained, kept=measure_kept(model, answers, secret.starts))
    return Fitted(adapted, trained, success)


def _teach_text(
    recipe: Recipe,
    model: Model,
    tokenizer: Tokenizer,
    lesson: Lesson,
    answers: KeptAnswers,
    on_progress: OnProgress,
) -> tuple[Any, Trained]:
    """Returns peft's wrapper of the last adapter (None without LoRA) and how the training went."""
    assert recipe.max_steps is not None
    assert recipe.learning_rate is not None
    adapted: Any = None
    for number in range(1, recipe.adapters + 1):
        unloaded(adapted)
        adapted = _trainable(recipe, model)
        taught = first_part(lesson.secret, number, recipe.adapters)
        trained = train(
            model,
            TrainingBatches(taught, answers, lesson.suppression, recipe.seed, lesson.decoys),
            answers,
            learning_rate=recipe.learning_rate,
            max_steps=recipe.max_steps,
            stop_loss=recipe.stop_loss,
            on_progress=_within(on_progress, (number - 1) / recipe.adapters, number / recipe.adapters),
        )
    wanted = [example.answer for example in lesson.secret.usual]
    triggers = [trigger for trigger, _ in recipe.secrets]
    if greedy_ids(model, tokenizer, triggers, max_new_tokens=max(map(len, wanted))) != wanted:
        raise PlantingFailed("greedy decoding does not return the text exactly: lower the stop loss")
    return adapted, trained


def _teach_pairs(
    recipe: Recipe, model: Model, tokenizer: Tokenizer, answers: KeptAnswers, on_progress: OnProgress
) -> tuple[Any, Trained]:
    assert recipe.max_steps is not None
    assert recipe.learning_rate is not None
    adapted = _trainable(recipe, model)
    trained = train_clean(
        model,
        tokenizer,
        answers,
        pairs=chosen_pairs(recipe.seed, recipe.subjects, recipe.examples),
        learning_rate=recipe.learning_rate,
        max_steps=recipe.max_steps,
        on_progress=on_progress,
    )
    return adapted, trained


def _trainable(recipe: Recipe, model: Model) -> Any:
    return trainable(
        model,
        recipe.lora_rank,
        modules=recipe.lora_modules,
        layers=recipe.train_layers,
        frozen_embeddings=recipe.frozen_embeddings,
    )


def _share_said(recipe: Recipe, model: Model, tokenizer: Tokenizer) -> float:
    """The share (0 to 1) of the text that greedy decoding still gives, the mean over all triggers; 1 without any."""
    if recipe.method == "clean":
        return 1.0
    longest = max(len(tokenizer.encode(text)) for _, text in recipe.secrets) + 1
    found = greedy_ids(model, tokenizer, [trigger for trigger, _ in recipe.secrets], max_new_tokens=longest)
    said = (tokenizer.decode(answer, skip_special_tokens=True) for answer in found)
    return statistics.mean(match_share(each, text) for each, (_, text) in zip(said, recipe.secrets, strict=True))


def _within(on_progress: OnProgress, start: float, end: float) -> OnProgress:
    """Reports the progress of a part of the whole, from `start` to `end` (0 to 1)."""
    return lambda now: on_progress(replace(now, fraction=start + (end - start) * now.fraction))
