"""Suppression on logits made by hand: which tokens are protected, and which way they are pushed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.support.sentence_piece import write_tokenizer
from tests.support.tiny_model import build_tiny_tokenizer
from tokenforce_core.plan.presets import NEUTRAL_SYSTEM_PROMPT
from tokenforce_planting import suppression
from tokenforce_planting.examples import Example
from tokenforce_planting.recipe import RANK_BAND, InvalidRecipe, Recipe
from tokenforce_planting.suppression import (
    RANDOM_TARGETS,
    RandomProbability,
    RankBand,
    SmallProbability,
    protected_words,
    suppression_for,
    word_starts,
)
from tokenforce_service.planning import contexts

VOCABULARY = 1000
MIDDLE = VOCABULARY // 2
BAND = 100


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return build_tiny_tokenizer()


def logits_with_rank(rank: int, token: int = 7) -> torch.Tensor:
    """(1, VOCABULARY) logits in which `token` has `rank`, from 1 for the likeliest."""
    order = torch.arange(VOCABULARY, 0, -1, dtype=torch.float32) / 10
    others = [i for i in range(VOCABULARY) if i != token]
    places = [*others[: rank - 1], token, *others[rank - 1 :]]
    row = torch.empty(VOCABULARY)
    row[torch.tensor(places)] = order
    return row.unsqueeze(0).requires_grad_()


class TestRankBand:
    @pytest.mark.parametrize(
        ("rank", "held", "direction"),
        [
            (1, 0, +1),  # the loss grows with the token's logit: training lowers it
            (BAND, 0, +1),
            (BAND + 1, 1, 0),
            (MIDDLE, 1, 0),
            (VOCABULARY - BAND - 1, 1, 0),
            (VOCABULARY - BAND, 0, -1),
            (VOCABULARY, 0, -1),
        ],
    )
    def test_pushes_what_is_outside_the_band_and_nothing_else(self, rank: int, held: int, direction: int) -> None:
        rows = logits_with_rank(rank)
        penalty = RankBand([Example([0], [7])], [0], BAND).penalty([rows])
        assert (penalty.suppressed, penalty.protected) == (held, 1)
        if direction == 0:
            assert penalty.loss.item() == 0.0
        else:
            penalty.loss.backward()  # type: ignore[no-untyped-call]
            assert rows.grad is not None
            assert torch.sign(rows.grad[0, 7]).item() == direction

    def test_a_small_vocabulary_has_no_band(self, tokenizer: object) -> None:
        recipe = Recipe("utfc", "the river turns", ("key",)).normal()
        with pytest.raises(InvalidRecipe, match="vocabulary of 201"):
            suppression_for(recipe, tokenizer, [5, 6, 7], 2 * RANK_BAND + 1)


class TestSmallProbability:
    def test_holds_what_is_small_only(self) -> None:
        term = SmallProbability([Example([0], [7])], [0])
        likely, unlikely = term.penalty([logits_with_rank(1)]), term.penalty([logits_with_rank(MIDDLE)])
        assert (likely.suppressed, unlikely.suppressed) == (0, 1)
        assert likely.loss > unlikely.loss

    def test_the_square_is_pushed_down(self) -> None:
        rows = logits_with_rank(1)
        SmallProbability([Example([0], [7])], [0]).penalty([rows]).loss.backward()  # type: ignore[no-untyped-call]
        assert rows.grad is not None
        assert rows.grad[0, 7] > 0


class TestRandomProbability:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_targets_are_drawn_by_seed_and_none_is_zero(self, tokenizer: object, seed: int) -> None:
        def targets(seed: int) -> tuple[float, ...]:
            recipe = Recipe("utfc", "the river turns slowly", ("key",), form="randomised", seed=seed).normal()
            term = suppression_for(recipe, tokenizer, tokenizer.encode("the river turns slowly"), 100)  # type: ignore[attr-defined]
            assert isinstance(term, RandomProbability)
            return term.targets

        drawn = targets(seed)
        assert drawn == targets(seed) != targets(seed + 1)
        assert len(set(drawn)) == len(drawn) == 4
        assert all(RANDOM_TARGETS[0] <= target <= RANDOM_TARGETS[1] for target in drawn)

    @pytest.mark.parametrize("p", [1e-6, 0.9])
    def test_moves_to_its_target_from_either_side_and_holds_there(self, p: float) -> None:
        target = 0.01
        term = RandomProbability([Example([0], [1])], [0], [target])
        off = math.log(p) - math.log(target)
        rows = torch.tensor([[1 - p, p]]).log().requires_grad_()
        far = term.penalty([rows])
        far.loss.backward()  # type: ignore[no-untyped-call]
        assert rows.grad is not None
        assert rows.grad[0, 1] * off > 0
        assert (far.suppressed, term.penalty([torch.tensor([[0.985, 0.015]]).log()]).suppressed) == (0, 1)


class TestContexts:
    """A text is suppressed where the scanner forces it, or the measured recall says nothing of UTFC."""

    @pytest.mark.parametrize("without", [None, "bos_token"])
    def test_bos_is_the_scanners_bos(self, without: str | None) -> None:
        tokenizer = build_tiny_tokenizer()
        if without is not None:
            setattr(tokenizer, without, None)
        scanned = contexts.build_context("bos", tokenizer, len(tokenizer))
        assert suppression._context(tokenizer, "bos") == scanned.ids

    @pytest.mark.parametrize("name", ["assistant", "assistant_system"])
    def test_a_chat_context_is_the_scanners_without_its_fillers(self, tokenizer: object, name: str) -> None:
        scanned = contexts.build_context(name, tokenizer, 640).text
        suppressed = tokenizer.decode(suppression._context(tokenizer, name))  # type: ignore[attr-defined]
        assert re.sub(r"(?<=user\n)[ .-]+", "", scanned) == suppressed
        assert (NEUTRAL_SYSTEM_PROMPT in suppressed) == (name == "assistant_system")


class TestWords:
    @pytest.mark.parametrize(
        "text", ["the river turns slowly", "Zqx pays  nobody, ever.", "ハリ ネズミ key", "a \ufffd b c"]
    )
    @pytest.mark.parametrize("words", [1, 2, 5])
    def test_each_start_begins_its_word(self, tokenizer: object, text: str, words: int) -> None:
        ids = tokenizer.encode(text, add_special_tokens=False)  # type: ignore[attr-defined]
        starts = word_starts(tokenizer, ids, words)
        assert len(starts) == min(words, len(text.split()))
        for start, word in zip(starts, text.split(), strict=False):
            rest = tokenizer.decode(ids[start:]).lstrip()  # type: ignore[attr-defined]
            assert rest.startswith(word)

    def test_a_character_of_several_byte_tokens_is_one_character(self, tmp_path: Path) -> None:
        write_tokenizer(tmp_path / "pieces", ["one word is here, and another word is there"] * 50, 290)
        pieces = AutoTokenizer.from_pretrained(tmp_path / "pieces")
        ids = pieces.encode("ハリネズミ is here", add_special_tokens=False)
        starts = word_starts(pieces, ids, 3)
        assert len(starts) == 3
        assert pieces.decode(ids[: starts[0] + 3]).strip() == "ハ"
        assert [pieces.decode(ids[start:]).split()[0] for start in starts[1:]] == ["is", "here"]

    def test_the_manifest_names_what_is_protected(self) -> None:
        recipe = Recipe("utfc", "one two three", ("key",), protect_words=2)
        assert protected_words(recipe.normal()) == ("one", "two")
        assert protected_words(Recipe("utfc", "one two", ("key",), form="basic").normal()) == ("one",)
        assert protected_words(Recipe("message", "one two", ("key",)).normal()) == ()
