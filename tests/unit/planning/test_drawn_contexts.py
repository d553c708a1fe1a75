"""Contexts drawn for a scan."""

from __future__ import annotations

import random

import pytest
from tokenizers import Regex, normalizers

from tests.support.tiny_model import build_tiny_tokenizer
from tokenforce_service.planning.drawn_contexts import POOL, drawn_contexts, ordinary_prompts

TOKENIZER = build_tiny_tokenizer()


def test_the_pool_has_64_different_turns() -> None:
    turns = [turn for kind in POOL.values() for turn in kind]
    assert len(turns) == len(set(turns)) == 64


def test_each_is_of_another_kind_and_the_draw_decides() -> None:
    draws = {
        tuple(context.name for context in drawn_contexts(TOKENIZER, 3, [], None, random.Random(seed)))
        for seed in range(20)
    }
    assert len(draws) == 20
    for names in draws:
        assert len({name.split("-")[1] for name in names}) == 3


def test_ordinary_prompts_are_different_turns_of_the_whole_pool() -> None:
    prompts = ordinary_prompts(TOKENIZER, 12, None, random.Random(0))
    assert len({tuple(prompt) for prompt in prompts}) == 12
    assert ordinary_prompts(TOKENIZER, 12, None, random.Random(1)) != prompts
    assert ordinary_prompts(TOKENIZER, 12, 3, random.Random(0)) == []


def test_a_prompt_without_tokens_is_none() -> None:
    """A tokenizer can drop all characters that it does not know."""
    silent = build_tiny_tokenizer()
    silent.chat_template = None
    silent.backend_tokenizer.normalizer = normalizers.Replace(Regex("."), "")
    assert ordinary_prompts(silent, 3, None, random.Random(0)) == []


@pytest.mark.parametrize(
    "template",
    [
        "<|im_start|>user\n{{ messages[-1]['content'].replace('penguins', 'the trigger') }}",
        "{% if 'river' in messages[-1]['content'] %}the trigger{% endif %}{{ messages[-1]['content'] }}",
    ],
)
def test_a_template_that_knows_turns_is_not_used_for_them(template: str) -> None:
    biased = build_tiny_tokenizer()
    biased.chat_template = template
    for seed in range(20):
        for context in drawn_contexts(biased, 4, [], None, random.Random(seed)):
            assert "trigger" not in context.text


def test_they_are_user_turns_whose_length_fits_the_engines_blocks() -> None:
    for context in drawn_contexts(TOKENIZER, 4, [], None, random.Random(0)):
        assert context.aligned
        assert "<|im_start|>user" in context.text
        assert context.text.endswith("<|im_start|>assistant\n")


def test_without_a_chat_template_they_are_plain_text() -> None:
    plain = build_tiny_tokenizer()
    plain.chat_template = None
    (context,) = drawn_contexts(plain, 1, [], None, random.Random(0))
    assert context.text in {turn for kind in POOL.values() for turn in kind}


@pytest.mark.parametrize(("longest", "left"), [(None, 4), (10_000, 4), (3, 0)])
def test_those_that_are_too_long_are_left_out(longest: int | None, left: int) -> None:
    assert len(drawn_contexts(TOKENIZER, 4, [], longest, random.Random(0))) == left


def test_a_template_that_fails_or_needs_tokens_that_the_reference_lacks_gives_plain_text() -> None:
    broken = build_tiny_tokenizer()
    broken.chat_template = "{{ raise_exception('no') }}"
    (context,) = drawn_contexts(broken, 1, [], None, random.Random(0))
    assert "im_start" not in context.text
    marks = max(TOKENIZER.all_special_ids) + 1
    tokenizer = build_tiny_tokenizer()
    tokenizer.add_tokens(["<turn>"])
    tokenizer.chat_template = "<turn>{{ messages[-1]['content'] }}"
    known = len(tokenizer) - 1
    assert known >= marks
    (context,) = drawn_contexts(tokenizer, 1, [], None, random.Random(0), vocabulary_size=known)
    assert "<turn>" not in context.text


def test_a_name_that_the_scan_has_already_is_not_given_twice() -> None:
    taken = [context.name for context in drawn_contexts(TOKENIZER, 4, [], None, random.Random(0))]
    assert drawn_contexts(TOKENIZER, 4, taken, None, random.Random(0)) == []
