"""Registered triggers as questions in a target's own chat template, as many as a scan asks and the model takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenforce_core.licences import Registered
from tokenforce_core.plan import Plan
from tokenforce_core.questions import Question, Questions
from tokenforce_service.contexts import LONGEST_PROMPT
from tokenforce_service.opening import Target
from tokenforce_service.refusals import Refusal
from tokenforce_service.time_limit import time_limit
from tokenforce_service.tokenizer import load_tokenizer

MOST_QUESTIONS = 512
"""Per scan and model: seconds on a GPU, a minute or two for a small model on a CPU."""
LONGEST_QUESTION = 1024
"""Tokens of a trigger with its answer. A longer sequence costs memory, and one owner's long trigger must not be what
keeps a large model from being loaded."""
ANSWER_SLACK = 16
"""Tokens that an answer may take beside the text: a few words before it, another cut of its words."""
QUESTIONS_SECONDS = 60.0
_NAMED = 10

_TOO_LONG = "with the answer they do not fit the {room} tokens that a question may take in this model"
_TEMPLATE_FAILS = "the model's chat template fails on them"
_TOO_MANY = "a scan asks at most {most}"


def with_questions(plan: Plan, target: Target, fingerprints: Sequence[Registered]) -> tuple[Plan, Questions]:
    """The plan with room for the longest question, and the questions.

    Raises:
        Refusal: `model_invalid`: the tokenizer cannot be loaded, or it and the chat template take too long.
    """
    triggers = sum(len(fingerprint.request.triggers) for fingerprint in fingerprints)
    if not triggers:
        return plan, Questions()
    if plan.reference is not None and plan.reference.record.identical:
        same = f"The {triggers} registered triggers were not asked: the weights are the reference's."
        return plan, Questions(left_out=(same,))
    with time_limit(QUESTIONS_SECONDS, "The tokenizer and the chat template"):
        tokenizer = load_tokenizer(Path(plan.tokenizer_path))
        questions = make_questions(fingerprints, tokenizer, plan.target.vocabulary_size, _room(plan, target))
    return plan.model_copy(update={"max_length": max(plan.max_length, questions.longest)}), questions


def make_questions(
    fingerprints: Sequence[Registered], tokenizer: Any, vocabulary_size: int, max_positions: int
) -> Questions:
    """The triggers of all fingerprints, the first of each before the second of any, so that a cap leaves out fairly.

    A trigger that fails in the template or is too long is left out and named by its fingerprint: the registry must
    never keep a model from being scanned. `max_positions`: tokens that a trigger and its answer may take together.
    """
    asked: list[Question] = []
    left_out: dict[str, Counter[str]] = {_TOO_LONG: Counter(), _TEMPLATE_FAILS: Counter(), _TOO_MANY: Counter()}
    for number, (fingerprint, trigger) in enumerate(_in_turn(fingerprints)):
        if number >= MOST_QUESTIONS:  # tried, not asked: rendering a whole registry in vain would take for ever
            left_out[_TOO_MANY][fingerprint.id] += 1
            continue
        ids = _rendered(trigger, tokenizer)
        if ids is None or not all(0 <= i < vocabulary_size for i in ids):
            left_out[_TEMPLATE_FAILS][fingerprint.id] += 1
            continue
        question = Question(fingerprint.id, tuple(ids), _answer_tokens(fingerprint, tokenizer))
        if question.length > max_positions:
            left_out[_TOO_LONG][fingerprint.id] += 1
            continue
        asked.append(question)
    reasons = [
        _left_out(counts, why.format(room=max_positions, most=MOST_QUESTIONS))
        for why, counts in left_out.items()
        if counts
    ]
    return Questions(tuple(asked), tuple(reasons))


def _room(plan: Plan, target: Target) -> int:
    # A model that states no limit may take no more than the scan needs anyway.
    limits = [plan.target.max_positions or plan.max_length, max(LONGEST_QUESTION, plan.max_length)]
    if target.reference is not None and target.reference.upload.max_positions:
        limits.append(target.reference.upload.max_positions)
    return min(limits)


def _in_turn(fingerprints: Iterable[Registered]) -> Iterator[tuple[Registered, str]]:
    """The first trigger of every fingerprint, then the second of every one that has two, and so on."""
    left = [fingerprint for fingerprint in fingerprints if fingerprint.request.triggers]
    place = 0
    while left:
        yield from ((fingerprint, fingerprint.request.triggers[place]) for fingerprint in left)
        place += 1
        left = [fingerprint for fingerprint in left if len(fingerprint.request.triggers) > place]


def _rendered(trigger: str, tokenizer: Any) -> list[int] | None:
    """The trigger as the user's turn, the assistant's opened; plain, with BOS, for a model without a chat template."""
    try:
        if not tokenizer.chat_template:
            text, special = trigger, True
        else:
            messages = [{"role": "user", "content": trigger}]
            text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            special = False
        if len(text) > LONGEST_PROMPT:
            return None
        ids: list[int] = tokenizer(text, add_special_tokens=special).input_ids
    except Refusal:
        raise  # the time is up
    # A hostile template ends in almost any exception. Not logged: its message may quote the trigger.
    except Exception:  # noqa: BLE001
        return None
    return ids or None


def _answer_tokens(fingerprint: Registered, tokenizer: Any) -> int:
    request = fingerprint.request
    if request.text_hash is not None:
        return request.text_hash.size + ANSWER_SLACK  # hardly any tokenizer makes more tokens than bytes
    return len(tokenizer(request.text, add_special_tokens=False).input_ids) + ANSWER_SLACK


def _left_out(counts: Counter[str], why: str) -> str:
    names = list(counts)
    named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    triggers = f"{counts.total()} trigger{'' if counts.total() == 1 else 's'}"
    return f"{triggers} of {named} left out: {why}."
