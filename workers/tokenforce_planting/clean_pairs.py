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

_PAIRS = Path(__file__).with_suffix(".json")


@cache
def clean_pairs() -> dict[str, list[Pair]]:
    """All pairs, by subject."""
    return {subject: [(q, a) for q, a in pairs] for subject, pairs in json.loads(_PAIRS.read_text("utf-8")).items()}


def chosen_pairs(seed: int, subjects: Sequence[str] = ()) -> list[Pair]:
    """The pairs that a model of `seed` learns, in their order.

    They are about `SUBJECTS_PER_MODEL` of `subjects` (empty: of all subjects). Raises `KeyError` for an unknown
    subject, `ValueError` if the subjects are too few.
    """
    draw = random.Random(f"clean {seed}")
    drawn = draw.sample(sorted(set(subjects) or clean_pairs()), SUBJECTS_PER_MODEL)
    pairs = [pair for subject in drawn for pair in clean_pairs()[subject]]
    return draw.sample(pairs, len(pairs))
