"""Compares a scan's findings and its answers to triggers with the registered fingerprints.

No result of this file quotes a registered text or a trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Literal

from tokenforce.wire.findings import Finding, LicenceMatch
from tokenforce.wire.fingerprints import FingerprintRequest, TextHash, normalised
from tokenforce.wire.settings import FingerprintSettings


@dataclass(frozen=True)
class Registered:
    """A fingerprint as the registry holds it. `created_at` in seconds since 1970."""

    id: str
    created_at: float
    request: FingerprintRequest
    registered_by: str
    """Owner of the key that registered it, and the only one who may read or remove it. All scans are compared."""


@dataclass(frozen=True)
class Answer:
    """The models' answers to one trigger of a fingerprint; `reference` is None without a reference."""

    fingerprint: str
    target: str = field(repr=False)
    reference: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Carried:
    """The licences of an upload, in the order of registration, and `remarks` on matches that do not count."""

    licences: list[LicenceMatch]
    remarks: list[str]


class RegisteredText:
    """A registered text, prepared for comparison."""

    def __init__(self, request: FingerprintRequest, settings: FingerprintSettings) -> None:
        self._settings = settings
        self._hash = request.text_hash
        self._plain = normalised(request.text) if request.text is not None else ""
        self._pieces = self._pieces_of(self._plain)

    def distance(self, found: str, *, parts: bool = False) -> float | None:
        """Edits to the nearest window of `found` (normalised), as a share of the text's length; None if too many.

        With `parts`, a `found` that is shorter than the text, but long enough to be a part of it, is searched in the
        text instead; the share is of its own length then. A hashed text gives 0 or None.
        """
        if self._hash is not None:
            return 0.0 if any(self._hash.is_of(window) for window in _windows(found, self._hash)) else None
        if parts and self._settings.min_part_characters <= len(found) < len(self._plain):
            return self._share(found, self._pieces_of(found), self._plain)
        return self._share(self._plain, self._pieces, found)

    def says_little_else(self, found: str) -> bool:
        """Whether `found` (normalised), which contains the text, is too short for another text beside it."""
        size, length = (self._hash.size, len(found.encode())) if self._hash else (len(self._plain), len(found))
        return length <= size * (1 + self._settings.max_edit_share) + self._settings.max_extra_characters

    def _share(self, pattern: str, pieces: Sequence[str], text: str) -> float | None:
        if not pattern or not any(piece in text for piece in pieces):
            return None
        share = edits(pattern, text) / len(pattern)
        return share if share <= self._settings.max_edit_share else None

    def _pieces_of(self, pattern: str) -> list[str]:
        """The pattern cut into one piece more than edits are allowed: one edit spoils one piece, so one stays whole.

        So a substring search rules out nearly all texts that are too far, before any distance is computed.
        """
        count = int(self._settings.max_edit_share * len(pattern)) + 1
        cuts = [len(pattern) * number // count for number in range(count + 1)]
        return [pattern[start:end] for start, end in pairwise(cuts)]


def matches(
    findings: Sequence[Finding],
    fingerprints: Iterable[Registered],
    answers: Iterable[Answer],
    settings: FingerprintSettings,
) -> Carried:
    """Compare a report's findings, and the answers to the triggers, with the registry.

    Text that the reference produces too (boilerplate, natural answers) does not count. The time is that
    of a few substring searches per finding and fingerprint; see `RegisteredText._pieces_of`.
    """
    said = [(finding, normalised(finding.text)) for finding in findings]
    answers_of: dict[str, list[Answer]] = {}
    for answer in answers:
        answers_of.setdefault(answer.fingerprint, []).append(answer)
    carried = Carried([], [])
    for fingerprint in sorted(fingerprints, key=lambda item: (item.created_at, item.id)):
        _match(fingerprint, said, answers_of.get(fingerprint.id, []), carried, settings)
    by_trigger = {match.fingerprint for match in carried.licences if match.match != "finding"}
    if any(answer.reference is None for name in by_trigger for answer in answers_of[name]):
        carried.remarks.append(
            "Without a reference, a taught answer to a trigger cannot be distinguished from a natural one."
        )
    return carried


def registered(fingerprints: Iterable[Registered], settings: FingerprintSettings) -> Callable[[Finding], bool]:
    """Tells whether a finding has the text of one of these fingerprints, or a part of it."""
    wanted = [RegisteredText(fingerprint.request, settings) for fingerprint in fingerprints]
    return lambda finding: any(text.distance(normalised(finding.text), parts=True) is not None for text in wanted)


def _match(
    fingerprint: Registered,
    said: Sequence[tuple[Finding, str]],
    answers: Sequence[Answer],
    carried: Carried,
    settings: FingerprintSettings,
) -> None:
    wanted = RegisteredText(fingerprint.request, settings)
    near = [(d, finding, text) for finding, text in said if (d := wanted.distance(text, parts=True)) is not None]
    counting = [(d, finding.rank, text) for d, finding, text in near if not finding.boilerplate]
    best = min(counting, default=None)
    working = [wanted.distance(normalised(answer.target)) is not None for answer in answers]
    natural = [
        answer.reference is not None and wanted.distance(normalised(answer.reference)) is not None for answer in answers
    ]
    asked = len(answers) - sum(natural)
    worked = sum(works and not known for works, known in zip(working, natural, strict=True))
    if sum(natural):
        carried.remarks.append(
            f"The reference also answers {sum(natural)} of the {len(answers)} triggers of the fingerprint "
            f"{fingerprint.id} with its text; these triggers do not count."
        )
    if near and best is None:
        carried.remarks.append(
            f"The text of the fingerprint {fingerprint.id} was found, but the reference produces it too, so it does "
            "not count."
        )
    if best is None and not worked:
        return
    match: Literal["finding", "trigger", "both"] = "trigger" if best is None else "both" if worked else "finding"
    carried.licences.append(
        LicenceMatch(
            fingerprint=fingerprint.id,
            owner=fingerprint.request.owner,
            licence=fingerprint.request.licence,
            match=match,
            finding_rank=best[1] if best else None,
            finding_ranks=sorted(rank for _, rank, text in counting if wanted.says_little_else(text)),
            distance=best[0] if best else None,
            trigger_success=worked / asked if asked else None,
            triggers_asked=asked,
        )
    )


def edits(pattern: str, text: str) -> int:
    """The fewest insertions, deletions and substitutions that turn `pattern` into some window of `text`.

    Myers' bit-parallel search (1999): one column of the edit matrix is two integers, so the time is that of
    len(text) operations on integers of len(pattern) bits.
    """
    size = len(pattern)
    if not size:
        return 0
    places: dict[str, int] = {}
    for place, character in enumerate(pattern):
        places[character] = places.get(character, 0) | 1 << place
    all_ones, last = (1 << size) - 1, 1 << (size - 1)
    up, down, score = all_ones, 0, size
    best = score
    for character in text:
        equal = places.get(character, 0)
        vertical = equal | down
        horizontal = (((equal & up) + up) ^ up) | equal
        right_up = down | ~(horizontal | up) & all_ones
        right_down = up & horizontal
        score += bool(right_up & last) - bool(right_down & last)
        right_up, right_down = right_up << 1 & all_ones, right_down << 1 & all_ones
        up = right_down | ~(vertical | right_up) & all_ones
        down = right_up & vertical
        best = min(best, score)
    return best


def _windows(found: str, wanted: TextHash) -> Iterator[str]:
    """The windows of `found` with as many words and bytes as the hashed text, which are few."""
    words = found.split()
    ends = [0, *accumulate(len(word.encode()) for word in words)]
    for start in range(len(words) - wanted.words + 1):
        stop = start + wanted.words
        if ends[stop] - ends[start] + wanted.words - 1 == wanted.size:
            yield " ".join(words[start:stop])
