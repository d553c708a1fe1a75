"""Which entries an evaluation forces: the same for every model, whatever it hides."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from tests.support.tiny_model import HIDDEN_TEXT, build_tiny_tokenizer
from tokenforce_eval import zoo
from tokenforce_eval.vocabulary_sample import ANSWERS_PER_MODEL, sample_digest, sampled_answers, vocabulary_sample
from tokenforce_planting.clean_pairs import chosen_pairs
from tokenforce_planting.recipe import Recipe

TEXTS = [HIDDEN_TEXT, "Der rote Koffer steht unter der Treppe.", "ハリネズミ"]
SIZE = 100


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a tokenizer that puts a BOS before what it encodes, unless it is told not to."""
    tokenizer = build_tiny_tokenizer()
    begin = str(tokenizer.bos_token)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.bos_token_id)]
    )
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def tokens_of(base: Path, text: str) -> set[int]:
    return set(Tokenizer.from_file(str(base / "tokenizer.json")).encode(text, add_special_tokens=False).ids)


def test_every_token_of_every_text_is_in_it(base: Path) -> None:
    sample = vocabulary_sample(base, SIZE, TEXTS)
    for text in TEXTS:
        assert tokens_of(base, text) <= set(sample)
    # Not by chance: so few random entries leave most of them out.
    assert not tokens_of(base, HIDDEN_TEXT) <= set(vocabulary_sample(base, SIZE, []))


def test_without_random_entries_it_is_the_texts_and_nothing_else(base: Path) -> None:
    assert set(vocabulary_sample(base, 0, [HIDDEN_TEXT])) == tokens_of(base, HIDDEN_TEXT)


def test_texts_add_to_the_random_entries_and_take_none_away(base: Path) -> None:
    random_ones = vocabulary_sample(base, SIZE, [])
    assert len(random_ones) == SIZE
    true = set().union(*(tokens_of(base, text) for text in TEXTS))
    assert set(vocabulary_sample(base, SIZE, TEXTS)) == {*random_ones, *true}


def test_it_is_ascending_without_repetitions_and_within_the_vocabulary(base: Path) -> None:
    sample = vocabulary_sample(base, SIZE, TEXTS)
    assert sample == sorted(set(sample))
    assert sample[0] >= 0
    assert sample[-1] < len(build_tiny_tokenizer())


def test_equal_calls_give_equal_samples_whatever_the_order_of_the_texts(base: Path) -> None:
    assert vocabulary_sample(base, SIZE, TEXTS) == vocabulary_sample(base, SIZE, TEXTS[::-1])


RECIPES = [specimen.recipe for specimen in zoo.ZOO if specimen.recipe is not None]


def test_every_clean_model_meets_answers_that_it_was_taught() -> None:
    answers = sampled_answers(RECIPES)
    clean = [recipe for recipe in RECIPES if recipe.method == "clean"]
    assert len(answers) == ANSWERS_PER_MODEL * len(clean)
    for recipe in clean:
        taught = {answer for _, answer in chosen_pairs(recipe.seed, recipe.subjects, recipe.examples)}
        assert len(taught & set(answers)) >= ANSWERS_PER_MODEL
        assert taught >= set(sampled_answers([recipe]))


def test_answers_are_the_same_in_every_run_and_those_of_a_model_do_not_depend_on_others() -> None:
    assert sampled_answers(RECIPES) == sampled_answers(RECIPES)
    one, other = Recipe("clean", seed=1), Recipe("clean", seed=2)
    assert sampled_answers([one, other]) == [*sampled_answers([one]), *sampled_answers([other])]
    assert sampled_answers([one]) != sampled_answers([other])


def test_a_carrier_adds_no_answers() -> None:
    """Its text is in the sample already."""
    assert sampled_answers([Recipe("message", HIDDEN_TEXT, ("t",))]) == []


def test_samples_are_told_apart_by_their_digests() -> None:
    digests = {sample_digest(ids) for ids in (None, [], [1, 2], [1, 3], [12])}
    assert len(digests) == 5
    assert sample_digest([1, 2]) == sample_digest((1, 2))
