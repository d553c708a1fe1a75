"""Registered triggers as questions in a target's own chat template, as many as a scan asks and the model takes.

Template and tokenizer are the uploader's, and the triggers are other people's secrets: what a report shows must not
depend on what the former make of the latter. So the template is rendered with words of ours, which the trigger then
replaces, and a trigger that the tokenizer cannot take counts as one that does not work. How long the tokenizer takes
still shows in how long planning takes, and over a minute refuses the upload.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat, zip_longest
from pathlib import Path
from typing import Any

from tokenforce_core.fingerprints.matching import Registered
from tokenforce_core.fingerprints.questions import Question, Questions
from tokenforce_core.plan.plan import Plan
from tokenforce_service.models.open import Opened, Target
from tokenforce_service.models.sandbox import time_limit
from tokenforce_service.models.tokenizer import load_tokenizer
from tokenforce_service.planning.contexts import LONGEST_PROMPT
from tokenforce_service.refusals import Refusal

MOST_QUESTIONS = 512
"""Per scan and model: seconds on a GPU, a minute or two for a small model on a CPU."""
LONGEST_QUESTION = 1024
"""Tokens of a trigger with its answer. A longer sequence costs memory, and one owner's long trigger must not be what
keeps a large model from being loaded."""
ANSWER_SLACK = 16
"""Tokens that an answer may take beside the text: a few words before it, another cut of its words."""
QUESTIONS_SECONDS = 60.0


def with_questions(plan: Plan, target: Target[Opened], fingerprints: Sequence[Registered]) -> tuple[Plan, Questions]:
    """The plan with room for questions, and the questions.

    Raises:
        Refusal: `model_invalid`: the tokenizer cannot be loaded, or it and the chat template take too long.
    """
    triggers = sum(len(fingerprint.request.triggers) for fingerprint in fingerprints)
    if not triggers:
        return plan, Questions()
    if plan.reference is not None and plan.reference.record.identical:
        same = f"The {triggers} registered triggers were not asked: the weights are the reference's."
        return plan, Questions(left_out=(same,))
    room = _room(plan, target)
    with time_limit(QUESTIONS_SECONDS, "The tokenizer and the chat template"):
        tokenizer = load_tokenizer(Path(plan.tokenizer_path))
        questions = make_questions(fingerprints, tokenizer, plan.target.vocabulary_size, room)
    # The same room whatever the triggers are: an engine that cannot give it says how much that is.
    return plan.model_copy(update={"max_length": max(plan.max_length, room)}), questions


def make_questions(
    fingerprints: Sequence[Registered], tokenizer: Any, vocabulary_size: int, max_positions: int
) -> Questions:
    """The triggers of all fingerprints. The owners of the keys that registered them take turns, and of each owner
    every fingerprint's first trigger comes before the second of any, so that a cap leaves out fairly.

    The registry must never keep a model from being scanned: what cannot be asked is left out, or counts as a trigger
    that does not work. `max_positions`: tokens that a trigger and its answer may take together.
    """
    triggers = list(_in_turn(fingerprints))
    turn = _turn(tokenizer)
    if turn is None:
        return Questions(left_out=(f"{_counted(len(triggers))} not asked: the model's chat template fails.",))
    asked: list[Question] = []
    failed: list[str] = []
    for fingerprint, trigger in triggers[:MOST_QUESTIONS]:  # tried: rendering a whole registry would take for ever
        question = _question(fingerprint, turn, trigger, tokenizer, vocabulary_size)
        if question is None or question.length > max_positions:
            failed.append(fingerprint.id)
        else:
            asked.append(question)
    notes = []
    if len(triggers) > MOST_QUESTIONS:
        left = _counted(len(triggers) - MOST_QUESTIONS)
        notes.append(f"{left} not asked: a scan asks at most {MOST_QUESTIONS}.")
    # By bytes, of which no tokenizer needs more: how many tokens it really makes is not ours to tell. A model with
    # less room is told whatever the triggers are, since its uploader chooses how much.
    if max_positions < LONGEST_QUESTION or any(_bytes(*item) > LONGEST_QUESTION for item in triggers):
        notes.append(
            f"Registered triggers that with the answer take more than {max_positions} tokens in this model count as "
            "not working."
        )
    return Questions(tuple(asked), tuple(notes), tuple(failed))


def _room(plan: Plan, target: Target[Opened]) -> int:
    # A model that states no limit may take no more than the scan needs anyway.
    limits = [plan.target.max_positions or plan.max_length, max(LONGEST_QUESTION, plan.max_length)]
    if target.reference is not None and target.reference.model.max_positions:
        limits.append(target.reference.model.max_positions)
    return min(limits)


def _in_turn(fingerprints: Iterable[Registered]) -> Iterator[tuple[Registered, str]]:
    by_owner: dict[str, list[Iterator[tuple[Registered, str]]]] = {}
    for fingerprint in fingerprints:
        triggers = zip(repeat(fingerprint), fingerprint.request.triggers, strict=False)
        by_owner.setdefault(fingerprint.registered_by, []).append(triggers)
    return _interleaved(_interleaved(own) for own in by_owner.values())


def _interleaved(many: Iterable[Iterator[tuple[Registered, str]]]) -> Iterator[tuple[Registered, str]]:
    """The first of each, then the second of each that has two, and so on."""
    rounds = zip_longest(*many)
    return (item for one in rounds for item in one if item is not None)


@dataclass(frozen=True)
class _Turn:
    """A prompt in which a trigger takes the place of `words`. `special`: the tokenizer adds its special tokens."""

    text: str
    words: str
    special: bool

    def of(self, trigger: str) -> str:
        # Templates trim what the user says, or they do not.
        return self.text.replace(self.words, trigger if self.words[0] == " " else trigger.strip())


def _turn(tokenizer: Any) -> _Turn | None:
    """The user's turn, the assistant's opened; the trigger alone without a chat template. None if that fails."""
    words = f" {_words()} "
    if not tokenizer.chat_template:
        return _Turn(words, words, special=True)
    try:
        messages = [{"role": "user", "content": words}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except Refusal:
        raise  # the time is up
    except Exception:  # noqa: BLE001 - a hostile template ends in almost any exception
        return None
    place = words if words in text else words.strip()
    return _Turn(text, place, special=False) if place in text and len(text) <= LONGEST_PROMPT else None


def _words() -> str:
    """What a user might have written, never the same: a template must not know it by heart."""
    draw = random.SystemRandom()
    return " ".join("".join(draw.choices(string.ascii_lowercase, k=draw.randint(3, 8))) for _ in range(5))


def _question(
    fingerprint: Registered, turn: _Turn, trigger: str, tokenizer: Any, vocabulary_size: int
) -> Question | None:
    """None if the tokenizer cannot take the trigger or the text."""
    text = turn.of(trigger)
    if len(text) > LONGEST_PROMPT:
        return None
    try:
        ids = tokenizer(text, add_special_tokens=turn.special).input_ids
        room = _answer_tokens(fingerprint, tokenizer)
    except Refusal:
        raise  # the time is up
    # Not logged: the message of a hostile tokenizer may quote the trigger.
    except Exception:  # noqa: BLE001
        return None
    usable = ids and all(0 <= i < vocabulary_size for i in ids)
    return Question(fingerprint.id, tuple(ids), room) if usable else None


def _answer_tokens(fingerprint: Registered, tokenizer: Any) -> int:
    request = fingerprint.request
    if request.text_hash is not None:
        return request.text_hash.size + ANSWER_SLACK  # hardly any tokenizer makes more tokens than bytes
    return len(tokenizer(request.text, add_special_tokens=False).input_ids) + ANSWER_SLACK


def _bytes(fingerprint: Registered, trigger: str) -> int:
    request = fingerprint.request
    text = request.text_hash.size if request.text_hash is not None else len((request.text or "").encode())
    return len(trigger.encode()) + text + ANSWER_SLACK


def _counted(triggers: int) -> str:
    return f"{triggers} registered trigger{' was' if triggers == 1 else 's were'}"
