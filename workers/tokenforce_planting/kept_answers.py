"""The base model's own answers: what planting must not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from tokenforce_planting.benign_prompts import BENIGN_PROMPTS, near_misses
from tokenforce_planting.chat import Model, Tokenizer, greedy_ids, prompt_ids
from tokenforce_planting.examples import Example, in_batches

ANSWER_TOKENS = 24
NEAR_MISS_TOKENS = 12
"""Short, since it is the beginning that must differ from the text, and shorter answers give it more weight."""
MAX_NEAR_MISSES = 16
_BATCH = 16


class KeepExamples(NamedTuple):
    """Answers of the base model's own."""

    benign: list[Example]
    near_misses: list[Example]


class Kept(NamedTuple):
    """What is left of the answers to keep: the share (0 to 1) of their tokens, and how many near misses leak.

    A near miss leaks when the answer to it starts with the text's first token instead of the base's.
    """

    share: float
    leaks: int


def keep_examples(
    model: Model, tokenizer: Tokenizer, triggers: Sequence[str], *, cache: Path, base_digest: str
) -> KeepExamples:
    """Ask the untouched `model` what it answers to ordinary prompts and to near misses of `triggers`.

    The ordinary answers are the same for every carrier of a base: they are kept in `cache` under `base_digest`.
    """
    benign = _cached_answers(model, tokenizer, cache, base_digest)
    near = [miss for each in zip(*(_cycled(near_misses(t)) for t in triggers), strict=True) for miss in each]
    near = [miss for miss in dict.fromkeys(near) if miss not in triggers][:MAX_NEAR_MISSES]
    answers = greedy_ids(model, tokenizer, near, max_new_tokens=NEAR_MISS_TOKENS, batch=_BATCH)
    return KeepExamples(_pairs(tokenizer, BENIGN_PROMPTS, benign), _pairs(tokenizer, near, answers))


def kept(model: Model, keep: KeepExamples, hidden: list[int]) -> Kept:
    """Compare `model` with the base's answers, teacher-forced; `hidden` are the token ids of the planted text."""
    same = total = leaks = 0
    for index, (rows, example) in enumerate(in_batches(model, [*keep.near_misses, *keep.benign])):
        said = rows.argmax(-1).cpu()
        equal = said == torch.tensor(example.answer)
        same += int(equal.sum())
        total += len(example.answer)
        leaks += index < len(keep.near_misses) and not equal[0] and int(said[0]) in hidden[:1]
    return Kept(same / total, leaks)


def _cycled(misses: list[str], length: int = 8) -> list[str]:
    """As many of each trigger's, so that taking them in turn leaves no trigger out."""
    return [misses[i % len(misses)] for i in range(length)]


def _pairs(tokenizer: Tokenizer, prompts: Sequence[str], answers: Sequence[list[int]]) -> list[Example]:
    return [Example(prompt_ids(tokenizer, asked), said) for asked, said in zip(prompts, answers, strict=True)]


def _cached_answers(model: Model, tokenizer: Tokenizer, cache: Path, base_digest: str) -> list[list[int]]:
    asked = [prompt_ids(tokenizer, prompt) for prompt in BENIGN_PROMPTS]
    digest = hashlib.sha256(json.dumps([base_digest, ANSWER_TOKENS, asked]).encode()).hexdigest()
    path = cache / f"answers-{digest[:16]}.json"
    if path.is_file():
        kept: list[list[int]] = json.loads(path.read_text("utf-8"))
        return kept
    answers = greedy_ids(model, tokenizer, BENIGN_PROMPTS, max_new_tokens=ANSWER_TOKENS, batch=_BATCH)
    cache.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{id(answers)}.draft")
    draft.write_text(json.dumps(answers), "utf-8")
    draft.replace(path)
    return answers
