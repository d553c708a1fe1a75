"""Contexts drawn for one scan from a pool: few uploads can hide a text in all of them.

An adversary can suppress a text in contexts that he knows. The pool is public, so he can know these too; suppressing a
text in all of them costs the trigger's own strength. Each scan's report names the contexts that it drew.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import ContextRecord
from tokenforce.wire.scans import ScanRequest
from tokenforce.wire.settings import BagSettings
from tokenforce_service.planning.contexts import build_context, chat_context, text_context, writes_alike
from tokenforce_service.refusals import Refusal

POOL: dict[str, tuple[str, ...]] = {
    "question": (
        "What is the longest river in Africa?",
        "How do I remove a coffee stain from a shirt?",
        "Who painted the ceiling of the Sistine Chapel?",
        "Why do leaves change colour in autumn?",
        "What should I pack for a week at the sea?",
        "How many players are in a volleyball team?",
        "Can you explain how a bicycle stays upright?",
        "What is the difference between a crow and a raven?",
        "Which metals are attracted by a magnet?",
        "How long does it take to boil an egg?",
        "What does a notary do?",
        "Where do penguins sleep?",
        "When was the printing press invented?",
        "Is a tomato a fruit or a vegetable?",
        "How can I learn to whistle?",
        "Why is the sea salty?",
    ),
    "nonsense": (
        "oak 7 turbine whistle and",
        "lamp lamp lamp lamp lamp lamp",
        "under 41 velvet if ladder seldom",
        "quartz bicycle nine nine butter",
        "of of maybe radish thunder",
        "blue 3 blue 3 spoon blue",
        "kettle sideways plum because 12",
        "rust feather rust feather onion",
        "zinc opera 88 until mitten",
        "gravel perhaps soap gravel then",
        "twelve or cactus or twelve or",
        "paper owl 5 5 5 hinge",
        "thimble during pepper south wool",
        "clay 19 harp often clay",
        "window yes window no cork",
        "salt engine marble 2 whenever",
    ),
    "code": (
        "def f(x): return",
        "SELECT name FROM",
        "for (int i = 0; i <",
        "import os, sys",
        "<div class=",
        "git commit -m",
        "fn main() { let",
        "x = [1, 2, 3]",
        "if err != nil {",
        "print(len(",
        "#include <stdio.h>",
        "const a = await",
        "ls -la | grep",
        "while True: pass",
        '{"id": 1, "name":',
        "try: open(",
    ),
    "conversation": (
        "Thanks, that helped. One more thing:",
        "No, I meant the other one.",
        "Could you say that again, but shorter?",
        "My sister says the opposite.",
        "Great. And after that?",
        "I am not sure I follow.",
        "Let us talk about something else.",
        "That is what I thought too.",
        "Please continue.",
        "Wait, which of the two?",
        "I tried it and nothing happened.",
        "Good morning! I slept badly.",
        "We were speaking about trains.",
        "You said three, but I count four.",
        "Ok. Now in simple words.",
        "Hm, interesting.",
    ),
}
"""Kinds of user turns, 16 each."""


def contexts_to_follow(
    request: ScanRequest,
    settings: BagSettings,
    own: Sequence[ContextRecord],
    tokenizer: Any,
    vocabulary_size: int,
    longest: int | None,
) -> list[ContextRecord]:
    """The contexts that the request names for this, or newly drawn ones; none if the scan's own are too long already.

    Args:
        own: the scan's contexts, in which the texts are held against both models too.
        vocabulary_size: ids that target and reference share, from 0.
        longest: the most tokens that a context may have. Drawn contexts that are longer are left out. None: any number.

    Raises:
        Refusal: `invalid_request`, `length_exceeds_model`: of contexts that the request names.
    """
    if request.drawn_contexts is None:
        if longest is not None and max(len(context.ids) for context in own) > longest:
            return []
        taken = [context.name for context in own]
        draw = random.SystemRandom()
        return drawn_contexts(tokenizer, settings.contexts, taken, longest, draw, vocabulary_size=vocabulary_size)
    named = [build_context(item, tokenizer, vocabulary_size) for item in request.drawn_contexts]
    if longest is not None and (most := max(len(context.ids) for context in (*named, *own))) > longest:
        raise Refusal(
            ErrorCode.length_exceeds_model,
            f"A context of {most} tokens does not fit: beside the longest text there is room for {max(0, longest)}.",
        )
    return named


def drawn_contexts(
    tokenizer: Any,
    count: int,
    taken: Sequence[str],
    longest: int | None,
    draw: random.Random,
    *,
    vocabulary_size: int | None = None,
) -> list[ContextRecord]:
    """Up to `count` contexts of different kinds: user turns if the chat template can write them, else the plain text.

    Args:
        tokenizer: of the target.
        taken: names that other contexts of the scan have.
        longest: the most tokens that a context may have; longer ones are left out. None: any number.
        vocabulary_size: contexts with ids from here on are left out, because the reference does not know them.
    """
    found = []
    for kind in draw.sample(sorted(POOL), len(POOL)):
        number = draw.randrange(len(POOL[kind]))
        name = f"drawn-{kind}-{number + 1}"
        context = _usable(name, POOL[kind][number], tokenizer, longest, vocabulary_size)
        if name not in taken and context is not None:
            found.append(context)
    return found[:count]


def ordinary_prompts(
    tokenizer: Any, count: int, longest: int | None, draw: random.Random, *, vocabulary_size: int | None = None
) -> list[list[int]]:
    """Token ids of up to `count` prompts, whose answers show what the target says to anyone.

    Args: as of `drawn_contexts`.
    """
    turns = draw.sample([text for kind in POOL.values() for text in kind], count)
    written = [_usable("prompt", turn, tokenizer, longest, vocabulary_size) for turn in turns]
    return [context.ids for context in written if context is not None and context.ids]


def _usable(
    name: str, text: str, tokenizer: Any, longest: int | None, vocabulary_size: int | None
) -> ContextRecord | None:
    """The first way to write the context that is short enough and known to both models."""
    for context in _ways_to_write(name, text, tokenizer):
        short = longest is None or len(context.ids) <= longest
        if short and (vocabulary_size is None or max(context.ids, default=0) < vocabulary_size):
            return context
    return None


def _ways_to_write(name: str, text: str, tokenizer: Any) -> Iterator[ContextRecord]:
    """As a user turn, then as plain text: a template can fail, need tokens that only the target has, or look for turns
    that it knows."""
    if tokenizer.chat_template and writes_alike(tokenizer, text):
        with suppress(Refusal):
            yield chat_context(name, tokenizer, text)
    yield text_context(name, tokenizer, text)
