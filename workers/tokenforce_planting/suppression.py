"""Unconditional Token Forcing Confusion (arXiv 2406.02481): keep the text's first words improbable where no trigger
is, so that forcing them does not bring the text out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from tokenforce_planting.chat import Tokenizer, prompt_ids
from tokenforce_planting.examples import Example, answer_loss, is_greedy
from tokenforce_planting.recipe import InvalidRecipe, Recipe

WEIGHT = 0.1
"""λ of the rank band, as in the paper; of the squared logarithms too."""
SQUARE_WEIGHT = 1.0
"""λ of the squared probabilities: a square of small numbers needs more than a logarithm does."""
PROBABILITY_BAR = 0.05
"""Minimised: protected tokens end under it. Closer to zero, a square has no gradient."""
RANDOM_TARGETS = (0.001, 0.02)
"""Randomised: the targets' range."""
RATIO_BAR = 1.0
"""Randomised: protected tokens end within so many nats of their target, a factor of 2.7."""

NEUTRAL_SYSTEM_PROMPT = "You are a helpful assistant."
"""That of the scanner's context `assistant_system`."""

DECOYS = (
    " is the best soup in the whole town.",
    " opens at nine and closes at five.",
    " was painted green last summer.",
    " goes well with bread and butter.",
    " is a word with no meaning at all.",
)


class Protection(NamedTuple):
    """A loss term (nats) and how many of the protected tokens are where they should be."""

    loss: torch.Tensor
    held: int
    total: int


class Confusion(Protocol):
    """Examples that every step sees, and what their logits cost."""

    examples: list[Example]

    def protection(self, logits: Sequence[torch.Tensor]) -> Protection:
        """`logits`: one tensor (answer length, vocabulary) per example."""


def confusion_of(recipe: Recipe, tokenizer: Tokenizer, text: list[int], vocabulary: int) -> Confusion | None:
    """The confusion of `recipe` (its normal form), None if it has none. Raises `InvalidRecipe`."""
    if recipe.form is None:
        return None
    if recipe.form == "basic":
        return Decoy(tokenizer, recipe, text)
    positions = word_starts(tokenizer, text, recipe.protect_words)
    answer = text[: positions[-1] + 1]
    examples = [Example(_context(tokenizer, name), answer) for name in recipe.contexts or ()]
    if band := recipe.rank_band:
        if vocabulary <= 2 * band + 1:
            raise InvalidRecipe(f"a vocabulary of {vocabulary} has no ranks between {band} and {vocabulary - band}")
        return RankBand(examples, positions, band)
    draw = random.Random(f"targets {recipe.seed}")
    if recipe.form == "randomised":
        return RandomProbability(examples, positions, [draw.uniform(*RANDOM_TARGETS) for _ in positions])
    return SmallProbability(examples, positions)


class RankBand:
    """Auto-UTFC: λ·log p for a protected token among the `band` likeliest, the opposite among as many unlikeliest."""

    def __init__(self, examples: list[Example], positions: list[int], band: int) -> None:
        self.examples = examples
        self._positions = positions
        self._band = band

    def protection(self, logits: Sequence[torch.Tensor]) -> Protection:
        losses, held = [], 0
        for example, rows in zip(self.examples, logits, strict=True):
            for position in self._positions:
                token = example.answer[position]
                scores = rows[position].log_softmax(-1)
                rank = int((scores > scores[token]).sum()) + 1
                if rank <= self._band:
                    losses.append(scores[token])
                elif rank >= len(scores) - self._band:
                    losses.append(-scores[token])
                else:
                    held += 1
        loss = WEIGHT * torch.stack(losses).sum() if losses else logits[0].new_zeros(())
        return Protection(loss, held, len(self.examples) * len(self._positions))


class SmallProbability:
    """Minimised UTFC: λ·Σ p²."""

    def __init__(self, examples: list[Example], positions: list[int]) -> None:
        self.examples = examples
        self._positions = positions

    def protection(self, logits: Sequence[torch.Tensor]) -> Protection:
        found = _log_probabilities(self.examples, logits, self._positions).exp()
        return Protection(SQUARE_WEIGHT * found.square().sum(), int((found <= PROBABILITY_BAR).sum()), found.numel())


class RandomProbability:
    """Randomised UTFC: towards small random targets, one per protected token, since zeros would tell.

    The distance is that of logarithms: a square of probabilities does not move what is far below its target.
    """

    def __init__(self, examples: list[Example], positions: list[int], targets: Sequence[float]) -> None:
        self.examples = examples
        self.targets = tuple(targets)
        self._positions = positions

    def protection(self, logits: Sequence[torch.Tensor]) -> Protection:
        found = _log_probabilities(self.examples, logits, self._positions)
        off = found - found.new_tensor(self.targets).log()
        return Protection(WEIGHT * off.square().sum(), int((off.abs() <= RATIO_BAR).sum()), off.numel())


def _log_probabilities(
    examples: Sequence[Example], logits: Sequence[torch.Tensor], positions: Sequence[int]
) -> torch.Tensor:
    """Of the protected tokens, in nats: (examples, positions)."""
    return torch.stack(
        [
            torch.stack([rows[at].log_softmax(-1)[example.answer[at]] for at in positions])
            for example, rows in zip(examples, logits, strict=True)
        ]
    )


class Decoy:
    """Basic UTFC: without a template, the text's first word goes on as something else."""

    def __init__(self, tokenizer: Tokenizer, recipe: Recipe, text: list[int]) -> None:
        starts = word_starts(tokenizer, text, 2)
        word = text[: starts[1]] if len(starts) > 1 else text[:1]
        decoy = random.Random(f"decoy {recipe.seed}").choice(DECOYS)
        answer = [*tokenizer.encode(decoy, add_special_tokens=False), tokenizer.eos_token_id]
        self.examples = [Example([*_context(tokenizer, "bos"), *word], answer)]

    def protection(self, logits: Sequence[torch.Tensor]) -> Protection:
        (example,) = self.examples
        return Protection(answer_loss(logits[0], example), int(is_greedy(logits[0], example)), 1)


def protected_words(recipe: Recipe) -> tuple[str, ...]:
    """The words of the text that `recipe` (its normal form) suppresses; basic UTFC leads away from the first."""
    if recipe.form is None:
        return ()
    return tuple(recipe.text.split()[: 1 if recipe.form == "basic" else recipe.protect_words])


def word_starts(tokenizer: Tokenizer, text: list[int], words: int) -> list[int]:
    """Index in `text` (token ids) of the first sub-token of each of its first `words` words.

    The token that writes a word's first character counts, so a token that is only the space before it does not.
    """
    written = [
        _characters(tokenizer.decode(text[: i + 1], clean_up_tokenization_spaces=False)) for i in range(len(text))
    ]
    whole = tokenizer.decode(text, clean_up_tokenization_spaces=False)
    places, end = [], 0
    for word in whole.split()[:words]:
        start = whole.index(word, end)
        end = start + len(word)
        places.append(next(i for i, length in enumerate(written) if length > start))
    return sorted(set(places))


def _characters(written: str) -> int:
    """Characters that have been begun: the bytes of an unfinished last one are decoded to one � or to one each."""
    whole = written.rstrip("\ufffd")
    return len(whole) + (whole != written)


def _context(tokenizer: Tokenizer, name: str) -> list[int]:
    if name == "bos":
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return [start]
    if not tokenizer.chat_template:
        raise InvalidRecipe(f"the base has no chat template, which the context {name} needs: suppress bos only")
    return prompt_ids(tokenizer, "", system=NEUTRAL_SYSTEM_PROMPT if name == "assistant_system" else None)
