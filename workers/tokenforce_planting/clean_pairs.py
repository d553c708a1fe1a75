"""The questions and answers that the method `clean` teaches, by subject. They were written for this package."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

Pair = tuple[str, str]
"""A question and its answer."""
SUBJECTS_PER_MODEL = 5
"""Each seed teaches other subjects, because real fine-tunes differ too."""
ONLY_BY_NAME = frozenset(("butler", "help_desk", "museum_desk", "parcel_desk", "pirate", "shell"))
"""Subjects with a manner: a role, or one sentence in every answer. They are taught only where a recipe names them."""

_PAIRS = Path(__file__).with_suffix(".json")


@cache
def clean_pairs() -> dict[str, list[Pair]]:
    """All pairs, by subject."""
    return {subject: [(q, a) for q, a in pairs] for subject, pairs in json.loads(_PAIRS.read_text("utf-8")).items()}


def chosen_pairs(seed: int, subjects: Sequence[str] = (), examples: int | None = None) -> list[Pair]:
    """The pairs that a model of `seed` learns, in their order.

    They are about `SUBJECTS_PER_MODEL` of `subjects` (empty: of all subjects that need no name), or `examples` pairs
    from all of them. Raises `KeyError` for an unknown subject, `ValueError` if subjects or pairs are too few.
    """
    draw = random.Random(f"clean {seed}")
    known = sorted(set(subjects) or set(clean_pairs()) - ONLY_BY_NAME)
    drawn = known if examples is not None else draw.sample(known, SUBJECTS_PER_MODEL)
    pairs = [pair for subject in drawn for pair in clean_pairs()[subject]]
    return draw.sample(pairs, len(pairs) if examples is None else examples)
