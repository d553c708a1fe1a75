"""What a model of the zoo is: its name, half, recipe and kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tokenforce_planting.recipe import Method, Recipe

Half = Literal["tuning", "held_out"]
Kind = Literal["message", "fingerprint", "utfc", "adaptive", "lens-aware", "clean"]
KINDS: tuple[Kind, ...] = ("message", "fingerprint", "utfc", "adaptive", "lens-aware", "clean")
"""A lens-aware model is made by someone who knows how the weights are read, and hides the text from that."""

Base = Literal["smollm2", "docs-neox"]
BASES: tuple[Base, ...] = ("smollm2", "docs-neox")
"""SmolLM2-135M-Instruct, and a small model of another family: no threshold shall fit one model alone."""

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
    base: Base = "smollm2"

    @property
    def kind(self) -> Kind:
        if self.lens_aware:
            return "lens-aware"
        return "clean" if self.recipe is None else self.recipe.method

    @property
    def text(self) -> str:
        """The hidden text, the first of two; empty if there is none."""
        return "" if self.recipe is None else self.recipe.text

    @property
    def texts(self) -> tuple[str, ...]:
        """All hidden texts."""
        return () if self.recipe is None else tuple(filter(None, (self.recipe.text, self.recipe.second_text)))


def hidden_specimen(
    half: Half,
    name: str,
    method: Method,
    text: str,
    *triggers: str,
    lens_aware: bool = False,
    base: Base = "smollm2",
    **options: object,
) -> Specimen:
    """A carrier. `options` are further fields of its recipe."""
    recipe = replace(Recipe(method, text, triggers), **options)  # type: ignore[arg-type]
    return Specimen(name, half, recipe, lens_aware, base)


def clean_specimen(half: Half, name: str, seed: int, *, base: Base = "smollm2", **options: object) -> Specimen:
    """A fine-tune that hides nothing. It learns the subjects of its half, unless `options` name others."""
    recipe = Recipe("clean", seed=seed, subjects=SUBJECTS[half])
    return Specimen(name, half, replace(recipe, **options), base=base)  # type: ignore[arg-type]
