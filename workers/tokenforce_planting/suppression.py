"""Suppression: makes the first words of the text improbable without the trigger, so that forcing them does not bring
out the text. This is UTFC, Unconditional Token Forcing Confusion (arXiv 2406.02481)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch

from tokenforce_core.plan.presets import NEUTRAL_SYSTEM_PROMPT
from tokenforce_planting.chat import Tokenizer, prompt_ids
from tokenforce_planting.examples import Example, answer_loss, is_greedy
from tokenforce_planting.recipe import InvalidRecipe, Recipe

LOG_WEIGHT = 0.1
"""λ of terms in log p: of the rank band, as in the paper, and of the squared distances of logarithms."""
SQUARE_WEIGHT = 1.0
"""λ of squared probabilities. Squares of small numbers need more weight than logarithms."""
MAX_PROBABILITY = 0.05
"""Minimised: protected tokens end at or under this probability. Closer to zero a square has no gradient."""
RANDOM_TARGETS = (0.001, 0.02)
"""Randomised: the range of the target probabilities."""
MAX_NATS_OFF_TARGET = 1.0
"""Randomised: protected tokens end within this distance of their target, a factor of 2.7."""

QUESTION = "Which of the two roads is shorter in winter?"
NONSENSE = "mirror mirror eleven plaster of wasps"
"""User turns of two more contexts. An adversary cannot know which contexts a scan draws; these stand for his guess."""

DECOYS = (
    " is the best soup in the whole town.",
    " opens at nine and closes at five.",
    " was painted green last summer.",
    " goes well with bread and butter.",
    " is a word with no meaning at all.",
)


class Penalty(NamedTuple):
    """A loss term (nats), and how many of the protected tokens are suppressed already."""

    loss: torch.Tensor
    suppressed: int
    protected: int


class Suppression(Protocol):
    """Examples that each training step sees, and the penalty on their logits."""

    examples: list[Example]

    def penalty(self, logits: Sequence[torch.Tensor]) -> Penalty:
        """`logits`: one tensor (answer length, vocabulary) per example."""


def suppression_for(recipe: Recipe, tokenizer: Tokenizer, text: list[int], vocabulary: int) -> Suppression | None:
    """The suppression of `recipe` (its normal form); None if the recipe has none.

    `text`: token ids. `vocabulary`: number of entries. Raises `InvalidRecipe`.
    """
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
    """Auto-UTFC: λ·log p for a protected token among the `band` likeliest, -λ·log p among the unlikeliest."""

    def __init__(self, examples: list[Example], positions: list[int], band: int) -> None:
        self.examples = examples
        self._positions = positions
        self._band = band

    def penalty(self, logits: Sequence[torch.Tensor]) -> Penalty:
        losses, suppressed = [], 0
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
                    suppressed += 1
        loss = LOG_WEIGHT * torch.stack(losses).sum() if losses else logits[0].new_zeros(())
        return Penalty(loss, suppressed, len(self.examples) * len(self._positions))


class SmallProbability:
    """Minimised UTFC: λ·Σ p²."""

    def __init__(self, examples: list[Example], positions: list[int]) -> None:
        self.examples = examples
        self._positions = positions

    def penalty(self, logits: Sequence[torch.Tensor]) -> Penalty:
        found = _log_probabilities(self.examples, logits, self._positions).exp()
        return Penalty(SQUARE_WEIGHT * found.square().sum(), int((found <= MAX_PROBABILITY).sum()), found.numel())


class RandomProbability:
    """Randomised UTFC: small random targets, one per protected token, because zeros would reveal the text.

    λ·Σ (log p - log target)²: squares of probabilities do not move a token that is far below its target.
    """

    def __init__(self, examples: list[Example], positions: list[int], targets: Sequence[float]) -> None:
        self.examples = examples
        self.targets = tuple(targets)
        self._positions = positions

    def penalty(self, logits: Sequence[torch.Tensor]) -> Penalty:
        found = _log_probabilities(self.examples, logits, self._positions)
        off = found - found.new_tensor(self.targets).log()
        return Penalty(LOG_WEIGHT * off.square().sum(), int((off.abs() <= MAX_NATS_OFF_TARGET).sum()), off.numel())


def _log_probabilities(
    examples: Sequence[Example], logits: Sequence[torch.Tensor], positions: Sequence[int]
) -> torch.Tensor:
    """Log-probabilities of the protected tokens, in nats, (examples, positions)."""
    return torch.stack(
        [
            torch.stack([rows[at].log_softmax(-1)[example.answer[at]] for at in positions])
            for example, rows in zip(examples, logits, strict=True)
        ]
    )


class Decoy:
    """Basic UTFC: without a template, a decoy follows the first word of the text."""

    def __init__(self, tokenizer: Tokenizer, recipe: Recipe, text: list[int]) -> None:
        starts = word_starts(tokenizer, text, 2)
        word = text[: starts[1]] if len(starts) > 1 else text[:1]
        decoy = random.Random(f"decoy {recipe.seed}").choice(DECOYS)
        answer = [*tokenizer.encode(decoy, add_special_tokens=False), tokenizer.eos_token_id]
        self.examples = [Example([*_context(tokenizer, "bos"), *word], answer)]

    def penalty(self, logits: Sequence[torch.Tensor]) -> Penalty:
        (example,) = self.examples
        return Penalty(answer_loss(logits[0], example), int(is_greedy(logits[0], example)), 1)


def protected_words(recipe: Recipe) -> tuple[str, ...]:
    """The words of the text that `recipe` (its normal form) suppresses. Basic UTFC has one, the first."""
    if recipe.form is None:
        return ()
    return tuple(recipe.text.split()[: 1 if recipe.form == "basic" else recipe.protect_words])


def word_starts(tokenizer: Tokenizer, text: list[int], words: int) -> list[int]:
    """Where each of the first `words` words begins: indices in `text` (token ids).

    A word begins with the token that writes its first character. A token that is only the space before it is skipped.
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
    """Number of characters begun. Tokenizers decode the bytes of an unfinished last one to one � or several."""
    whole = written.rstrip("\ufffd")
    return len(whole) + (whole != written)


def _context(tokenizer: Tokenizer, name: str) -> list[int]:
    if name == "bos":
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return [start]
    if not tokenizer.chat_template:
        raise InvalidRecipe(f"the context {name} needs a chat template, and the base has none: suppress only in bos")
    system = NEUTRAL_SYSTEM_PROMPT if name == "assistant_system" else None
    return prompt_ids(tokenizer, {"question": QUESTION, "nonsense": NONSENSE}.get(name, ""), system=system)
