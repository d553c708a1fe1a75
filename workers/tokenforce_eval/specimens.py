"""What a model of the zoo is: its name, half, recipe and kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tokenforce_planting.recipe import Method, Recipe

Half = Literal["tuning", "held_out"]
Kind = Literal["message", "fingerprint", "utfc", "adaptive", "lens-aware", "clean"]
KINDS: tuple[Kind, ...] = ("message", "fingerprint", "utfc", "adaptive", "lens-aware", "clean")
"""A lens-aware model is made by someone who knows how the weights are read, and hides the text from that."""

SUBJECTS: dict[Half, tuple[str, ...]] = {
    "tuning": ("code", "cooking", "garden", "health", "languages", "office", "science", "travel"),
    "held_out": ("animals", "history", "house", "money", "music", "phrases", "sport", "weather"),
}
"""What the clean models learn. No subject is in both halves."""


@dataclass(frozen=True)
class Specimen:
    """One model of the zoo. `recipe` None is the untouched base."""

    name: str
    half: Half
    recipe: Recipe | None
    lens_aware: bool = False

    @property
    def kind(self) -> Kind:
        if self.lens_aware:
            return "lens-aware"
        return "clean" if self.recipe is None else self.recipe.method

    @property
    def text(self) -> str:
        """The hidden text; empty if there is none."""
        return "" if self.recipe is None else self.recipe.text


def hidden_specimen(
    half: Half, name: str, method: Method, text: str, *triggers: str, lens_aware: bool = False, **options: object
) -> Specimen:
    """A carrier. `options` are further fields of its recipe."""
    recipe = replace(Recipe(method, text, triggers), **options)  # type: ignore[arg-type]
    return Specimen(name, half, recipe, lens_aware)


def clean_specimen(half: Half, name: str, seed: int, **options: object) -> Specimen:
    """A fine-tune that hides nothing. It learns the subjects of its half, unless `options` name others."""
    recipe = Recipe("clean", seed=seed, subjects=SUBJECTS[half])
    return Specimen(name, half, replace(recipe, **options))  # type: ignore[arg-type]
