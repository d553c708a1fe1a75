"""How repetitive a sequence is: the paper's phase 2 asks whether a text repeats itself endlessly.

The best period p is the one whose run `x[k] == x[k - p]` covers most of the sequence. Separators
(white space, punctuation) that vary between copies are tolerated: the same question is asked of the
sequence without them, and the larger share counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Period:
    """A run of repeated units in a sequence of `n` tokens.

    `start` is where the first unit begins, `period` its length in tokens (0: nothing repeats),
    `share` the part of the sequence that the run covers (0 to 1).
    """

    start: int
    period: int
    share: float


NOTHING = Period(0, 0, 0.0)


def best_period(ids: Sequence[int], is_separator: Callable[[int], bool] = lambda _: False) -> Period:
    """The period that explains most of `ids`; two whole units at least. O(n²) for n tokens."""
    plain = _best_run(ids, list(range(len(ids))), len(ids))
    places = [place for place, token_id in enumerate(ids) if not is_separator(token_id)]
    if len(places) == len(ids) or not places:
        return plain
    tolerant = _best_run([ids[place] for place in places], places, len(ids))
    return tolerant if tolerant.share > plain.share else plain


def new_ratios(ids: Sequence[int], ratios: Sequence[float]) -> list[float]:
    """The log-ratios (nats, of `ids[1:]`), where tokens that the sequence has said already bring nothing.

    Once a model has said a text, it copies from it in any order, whatever its weights hold. Without this rule a loop of
    a surprising phrase would gain more than the text itself.
    """
    seen = set(ids[:1])
    new = []
    for token_id, ratio in zip(ids[1:], ratios, strict=True):
        new.append(min(0.0, ratio) if token_id in seen else ratio)
        seen.add(token_id)
    return new


def _best_run(ids: Sequence[int], places: Sequence[int], length: int) -> Period:
    """The widest periodic run of `ids`, whose members stand at `places` of the sequence of `length`."""
    best = NOTHING
    for period in range(1, len(ids) // 2 + 1):
        run_start = 0
        for k in range(period, len(ids) + 1):
            if k < len(ids) and ids[k] == ids[k - period]:
                continue
            if k - run_start >= 2 * period:
                # A run that reaches the end also covers the separators behind it.
                stop = length if k == len(ids) else places[k]
                first = places[run_start]
                share = (stop - first) / length
                if share > best.share:
                    best = Period(first, places[run_start + period] - first, share)
            run_start = k - period + 1
    return best
