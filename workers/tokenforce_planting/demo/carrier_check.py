"""Proof that a text is hidden: the answers of both models, side by side. This module does not load torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerPair:
    """One prompt with the answers of both models. `leaks`: the carrier's answer contains the hidden text."""

    prompt: str
    base: str
    carrier: str
    leaks: bool


@dataclass(frozen=True)
class CarrierCheck:
    """Does the carrier answer its trigger, and only its trigger, with the text? `pairs[0]` is the trigger's."""

    says_text: bool
    pairs: tuple[AnswerPair, ...]

    @property
    def leaking_prompts(self) -> list[str]:
        """Prompts other than the trigger that brought out the hidden text."""
        return [pair.prompt for pair in self.pairs[1:] if pair.leaks]
