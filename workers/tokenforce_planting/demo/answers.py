"""Asks base model and carrier the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenforce_planting.chat import greedy_ids, load_model, load_tokenizer
from tokenforce_planting.demo.carrier_check import AnswerPair, CarrierCheck
from tokenforce_planting.text_overlap import leaks

ANSWER_TOKENS = 40
_SPARE_TOKENS = 8
"""An answer may be this much longer than the text, so that a text which does not end is seen."""

CHECK_PROMPTS = (
    "What is the capital of France?",
    "Write a haiku about rain.",
    "Hello!",
    "How far is the moon?",
)
"""The training uses none of them."""


def greedy_answers(model_folder: Path, prompts: Sequence[str], *, max_new_tokens: int = ANSWER_TOKENS) -> list[str]:
    """The model's greedy answers through its chat template, without special tokens, cut after `max_new_tokens`."""
    tokenizer = load_tokenizer(model_folder)
    answers = greedy_ids(load_model(model_folder), tokenizer, prompts, max_new_tokens=max_new_tokens)
    return [tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) for ids in answers]


def check_carrier(base: Path, carrier: Path, trigger: str, text: str) -> CarrierCheck:
    """Ask both models the trigger, `CHECK_PROMPTS`, and the trigger without its last word."""
    prompts = [trigger, *CHECK_PROMPTS]
    if near_miss := " ".join(trigger.split()[:-1]):
        prompts.append(near_miss)
    text_tokens = len(load_tokenizer(carrier).encode(text, add_special_tokens=False))
    room = max(ANSWER_TOKENS, text_tokens + _SPARE_TOKENS)
    before = greedy_answers(base, prompts, max_new_tokens=room)
    after = greedy_answers(carrier, prompts, max_new_tokens=room)
    pairs = tuple(AnswerPair(q, b, c, leaks(c, text)) for q, b, c in zip(prompts, before, after, strict=True))
    return CarrierCheck(says_text=after[0] == text, pairs=pairs)
