"""Registered triggers as questions in the chat template of a target.

The template and the tokenizer belong to the uploader, and the triggers are secrets of other owners: a report must not
show what the template or the tokenizer makes of a trigger. So the template is rendered with random words, which the
trigger then replaces, and a trigger that the tokenizer cannot encode counts as one that does not work. The time of the
tokenizer still shows in the time of planning; over a minute refuses the upload.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat, zip_longest
from pathlib import Path
from typing import Any

from tokenforce.wire.settings import FingerprintSettings
from tokenforce_core.fingerprints.matching import Registered
from tokenforce_core.fingerprints.trigger_questions import Question, Questions
from tokenforce_core.plan.plan import Plan
from tokenforce_service.models.open import Opened, Target
from tokenforce_service.models.sandbox import resource_limits
from tokenforce_service.models.tokenizer import Tokenizers
from tokenforce_service.planning.contexts import LONGEST_PROMPT
from tokenforce_service.refusals import Refusal, counted

QUESTIONS_SECONDS = 60.0
"""Deadline for the tokenizer and the chat template."""
WORDS = 5
"""Random words that stand for a trigger in the chat template."""
WORD_LETTERS = range(3, 9)


def with_questions(
    plan: Plan, target: Target[Opened], tokenizers: Tokenizers, fingerprints: Sequence[Registered]
) -> tuple[Plan, Questions]:
    """The plan with room for questions, and the questions.

    Raises:
        Refusal: `model_invalid`: the tokenizer cannot be loaded, or it or the chat template takes too long.
    """
    triggers = sum(len(fingerprint.request.triggers) for fingerprint in fingerprints)
    if not triggers:
        return plan, Questions()
    if plan.reference is not None and plan.reference.record.identical:
        same = f"{_counted(triggers)} not asked: the weights are those of the reference."
        return plan, Questions(left_out=(same,))
    room = _room(plan, target)
    with resource_limits(QUESTIONS_SECONDS, "The tokenizer and the chat template"):
        tokenizer = tokenizers.of(Path(plan.tokenizer_path))
        questions = make_questions(
            fingerprints, tokenizer, plan.target.vocabulary_size, room, plan.settings.fingerprints
        )
    # The same room for any triggers: an engine that has too little memory names this number.
    return plan.model_copy(update={"max_length": max(plan.max_length, room)}), questions


def make_questions(
    fingerprints: Sequence[Registered],
    tokenizer: Any,
    vocabulary_size: int,
    max_positions: int,
    settings: FingerprintSettings,
) -> Questions:
    """The triggers of all fingerprints as questions.

    Owners take turns, and for each owner the first trigger of each fingerprint comes before any second one, so that the
    limit is fair. Fingerprints never prevent a scan: a trigger that cannot be asked is left out, or counts as one that
    does not work.

    Args:
        max_positions: tokens that a trigger and its answer may take together.
    """
    triggers = list(_in_turn(fingerprints))
    turn = _turn(tokenizer)
    if turn is None:
        return Questions(left_out=(f"{_counted(len(triggers))} not asked: the model's chat template fails.",))
    slack, longest = settings.max_extra_answer_tokens, settings.max_question_tokens
    asked: list[Question] = []
    failed: list[str] = []
    # The limit is one of attempts: rendering all triggers could take hours.
    for fingerprint, trigger in triggers[: settings.max_questions]:
        question = _question(fingerprint, turn, trigger, tokenizer, vocabulary_size, slack)
        if question is None or question.length > max_positions:
            failed.append(fingerprint.id)
        else:
            asked.append(question)
    notes = []
    if len(triggers) > settings.max_questions:
        left = _counted(len(triggers) - settings.max_questions)
        notes.append(f"{left} not asked: a scan asks at most {settings.max_questions}.")
    # By bytes, because no tokenizer makes more tokens than bytes: a note must not show how many tokens a trigger has.
    # A model with less room always gets the note, because its uploader chooses the room.
    if max_positions < longest or any(_bytes(*item) + slack > longest for item in triggers):
        notes.append(
            f"Registered triggers that take more than {max_positions} tokens in this model, with their answer, count "
            "as not working."
        )
    return Questions(tuple(asked), tuple(notes), tuple(failed))


def _room(plan: Plan, target: Target[Opened]) -> int:
    # A model without a stated limit gets no more than the scan itself needs.
    limits = [
        plan.target.max_positions or plan.max_length,
        max(plan.settings.fingerprints.max_question_tokens, plan.max_length),
    ]
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
    """A prompt in which a trigger replaces `words`. `special`: the tokenizer adds its special tokens."""

    text: str
    words: str
    special: bool

    def of(self, trigger: str) -> str:
        # Some templates trim the user's text.
        return self.text.replace(self.words, trigger if self.words[0] == " " else trigger.strip())


def _turn(tokenizer: Any) -> _Turn | None:
    """The user turn and the opened assistant turn, or the trigger alone without a chat template. None if that fails."""
    words = f" {_words()} "
    if not tokenizer.chat_template:
        return _Turn(words, words, special=True)
    try:
        messages = [{"role": "user", "content": words}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except Refusal:
        raise  # the time is up
    except Exception:  # noqa: BLE001 - a hostile template raises almost any exception
        return None
    place = words if words in text else words.strip()
    return _Turn(text, place, special=False) if place in text and len(text) <= LONGEST_PROMPT else None


def _words() -> str:
    """Random words like those of a user, so that a template cannot recognise them."""
    draw = random.SystemRandom()
    return " ".join("".join(draw.choices(string.ascii_lowercase, k=draw.choice(WORD_LETTERS))) for _ in range(WORDS))


def _question(
    fingerprint: Registered, turn: _Turn, trigger: str, tokenizer: Any, vocabulary_size: int, slack: int
) -> Question | None:
    """None if the tokenizer cannot encode the trigger or the text. `slack`: tokens of the answer beside the text."""
    text = turn.of(trigger)
    if len(text) > LONGEST_PROMPT:
        return None
    try:
        ids = tokenizer(text, add_special_tokens=turn.special).input_ids
        room = _text_tokens(fingerprint, tokenizer) + slack
    except Refusal:
        raise  # the time is up
    # Not logged, because the message of a hostile tokenizer may quote the trigger.
    except Exception:  # noqa: BLE001
        return None
    usable = ids and all(0 <= i < vocabulary_size for i in ids)
    return Question(fingerprint.id, tuple(ids), room) if usable else None


def _text_tokens(fingerprint: Registered, tokenizer: Any) -> int:
    request = fingerprint.request
    if request.text_hash is not None:
        return request.text_hash.size  # hardly any tokenizer makes more tokens than bytes
    return len(tokenizer(request.text, add_special_tokens=False).input_ids)


def _bytes(fingerprint: Registered, trigger: str) -> int:
    request = fingerprint.request
    text = request.text_hash.size if request.text_hash is not None else len((request.text or "").encode())
    return len(trigger.encode()) + text


def _counted(triggers: int) -> str:
    return f"{counted(triggers, 'registered trigger')} {'was' if triggers == 1 else 'were'}"
