"""One finding per text: forcing hits a hidden text at many of its tokens, in several contexts and spellings.

Two sequences say the same if half of the shorter one's runs of three tokens are in the other: suffixes of one another
("Distrans refers to …", "© refers to …"), spellings of the first token, the same text decoded twice, and what the
search by contrast made of it where it went astray ("Pier Nine shines bright, and the crates are carried out by boat").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenforce_core.forcing.repetition import new_ratios
from tokenforce_core.forcing.texts import ConfirmedText, logs

RUN = 3
SHARED = 0.5
"""Share of the shorter sequence's runs that the longer one has to contain."""
NEARLY = 0.8
"""Without a reference the longest text is reported whose score is at least this share of the best one's."""

UNSURE = 2.0
"""Weight of the log-probability. Measured on versions of two texts: at 1 "ya está" wins by 1.8 nats, at 2 the planted
text does by 0.4 and 4.5."""
EACH = 1.0
"""Nats that a token has to bring: without it a text goes on into what any fine-tuning changes a little."""

Runs = frozenset[tuple[int, ...]]


@dataclass(frozen=True)
class Group:
    """Texts that say the same; `best` is the one to report."""

    best: ConfirmedText
    members: tuple[ConfirmedText, ...]


def merged(texts: Sequence[ConfirmedText]) -> list[Group]:
    """Group texts, the strongest first. The order of `texts` does not matter."""
    groups: list[tuple[Runs, list[ConfirmedText]]] = []
    for text in sorted(texts, key=_strength):
        own = _runs(text.confirmed.token_ids)
        for leader, members in groups:
            if _same(own, leader):
                members.append(text)
                break
        else:
            groups.append((own, [text]))
    return [Group(_best(members), tuple(members)) for _, members in groups]


def alone(texts: Sequence[ConfirmedText]) -> list[Group]:
    """Every text for itself, as the paper ranks them."""
    return [Group(text, (text,)) for text in texts]


def _strength(text: ConfirmedText) -> tuple[bool, float, float, int, int, bool]:
    candidate = text.confirmed.candidate
    return (
        text.confirmed.degenerate,
        -text.contrast,
        -_score(text),
        candidate.context,
        candidate.forced_id,
        text.by_contrast,
    )


def _best(members: Sequence[ConfirmedText]) -> ConfirmedText:
    """The one to report; `members` are in order of strength.

    With a reference what adds up to the most log-ratio at the price of `UNSURE` times the log-probability: a version
    that drifts into ordinary words loses by them, and one that skips or adds a word ("refers a technology", "ya
    está") surprises the reference more but pays for that word. Without one the longest of the nearly best.
    """
    first = members[0]
    alike = [m for m in members if m.confirmed.degenerate == first.confirmed.degenerate]
    if first.reference:
        return max(alike, key=_readable)
    near = [m for m in alike if _score(m) >= NEARLY * _score(first)]
    return max(near, key=lambda m: len(m.confirmed.token_ids))


def _readable(text: ConfirmedText) -> float:
    log_probability = sum(logs(text.confirmed.probabilities))
    surprise = new_ratios(text.confirmed.token_ids, text.log_ratios)
    return sum(surprise) + UNSURE * log_probability - EACH * len(surprise)


def _score(text: ConfirmedText) -> float:
    return min(text.confirmed.candidate.score, text.confirmed.mean_probability)


def _runs(ids: Sequence[int]) -> Runs:
    if len(ids) <= RUN:
        return frozenset({tuple(ids)})
    return frozenset(tuple(ids[i : i + RUN]) for i in range(len(ids) - RUN + 1))


def _same(one: Runs, other: Runs) -> bool:
    return len(one & other) >= SHARED * min(len(one), len(other))
