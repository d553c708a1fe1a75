"""One finding per text: forcing hits a hidden text at many of its tokens, in several contexts and spellings.

Two sequences say the same if half of the shorter one's runs of three tokens are in the other: suffixes of one another
("Distrans refers to …", "© refers to …"), spellings of the first token, the same text decoded twice, and versions in
which the search by contrast took wrong words ("Pier Nine shines bright, and the crates are carried out by boat").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenforce.wire.settings import FindingSettings, VerdictThresholds
from tokenforce_core.contrast.by_heart import is_denied, passes_for_hidden
from tokenforce_core.forcing.repetition import new_ratios
from tokenforce_core.forcing.token_runs import Runs, runs
from tokenforce_core.forcing.trace import Origin, Trace


@dataclass(frozen=True)
class Group:
    """Texts that say the same; `best` is the one to report."""

    best: Trace
    members: tuple[Trace, ...]


def merged(texts: Sequence[Trace], settings: FindingSettings, thresholds: VerdictThresholds) -> list[Group]:
    """Group texts, the strongest first. The order of `texts` does not matter."""
    groups: list[tuple[Runs, list[Trace]]] = []
    for text in sorted(texts, key=_strength):
        own = runs(text.tokens, settings.run_tokens)
        for leader, members in groups:
            if len(own & leader) >= settings.min_shared_share * min(len(own), len(leader)):
                members.append(text)
                break
        else:
            groups.append((own, [text]))
    return [Group(_best(members, settings, thresholds), tuple(members)) for _, members in groups]


def alone(texts: Sequence[Trace]) -> list[Group]:
    """Every text for itself, as the paper ranks them."""
    return [Group(text, (text,)) for text in texts]


def _strength(text: Trace) -> tuple[bool, float, float, int, int, bool]:
    by_search = text.origin is Origin.search
    return text.degenerate, -text.contrast, -_score(text), text.context, text.forced_id, by_search


def _best(members: Sequence[Trace], settings: FindingSettings, thresholds: VerdictThresholds) -> Trace:
    """The text to report; `members` are in order of strength.

    With a reference: the most log-ratio plus weighted log-probability. A version that drifts into ordinary words loses
    by them, and one that skips or adds a word ("refers a technology", "ya está") surprises the reference more but pays
    for that word. If the target was trained not to say the text, or the graft is sure of it: what the graft gains most
    on, then the most log-ratio. Its words are improbable on purpose, and a tail without them would always win. But what
    the target says of itself, and as much of it, is nearer to the text than what the graft says. Without a reference:
    the longest of the nearly best.
    """
    first = members[0]
    alike = [member for member in members if member.degenerate == first.degenerate]
    if first.log_q:
        denied = [text for text in alike if is_denied(text, thresholds)]
        if not denied:
            return max(alike, key=lambda member: _readable(member, settings))
        on_graft = max(denied, key=lambda text: (text.graft_gain or 0.0, _surprise(text, settings)))
        said = [text for text in alike if passes_for_hidden(text, thresholds)]
        best = max(said, key=lambda text: _readable(text, settings), default=on_graft)
        return best if _surprise(best, settings) > _surprise(on_graft, settings) else on_graft
    near = [member for member in alike if _score(member) >= settings.near_best_share * _score(first)]
    return max(near, key=lambda member: len(member.ids))


def _readable(text: Trace, settings: FindingSettings) -> float:
    return _surprise(text, settings) + settings.log_probability_weight * sum(text.log_p)


def _surprise(text: Trace, settings: FindingSettings) -> float:
    ratios = new_ratios(text.tokens, text.log_ratios)
    return sum(ratios) - settings.token_cost_nats * len(ratios)


def _score(text: Trace) -> float:
    return min(text.sweep_score, text.mean_probability)
