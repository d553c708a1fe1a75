"""The rankings and the verdict.

Both orders are total (ties go by context and forced id), so the order in which shards arrive cannot
change a rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenforce.types import Finding, Order, SettingsRecord, Verdict

SUSPICIOUS_SCORE = 0.88
"""Score from which a text counts as memorised. Without a reference this cannot tell a planted text
from pre-training boilerplate, so it makes a model `suspicious` and never `hidden_text`."""

LEAST_COVERAGE = 0.5
"""Share of the vocabulary that has to be forced before finding nothing means anything."""


def ranked(findings: Iterable[Finding], order: Order) -> list[Finding]:
    """Findings in `order`, with their ranks from 1. Degenerate loops come last in both orders."""

    def key(finding: Finding) -> tuple[bool, float, float, str, int]:
        first, second = finding.score, finding.repetition.share
        if order is Order.repetition:
            first, second = second, first
        return (finding.degenerate, -first, -second, finding.context, finding.forced_token.id)

    return [
        finding.model_copy(update={"rank": rank}) for rank, finding in enumerate(sorted(findings, key=key), start=1)
    ]


@dataclass(frozen=True)
class Coverage:
    """What a sweep looked at: `forced` of `vocabulary` ids in each of `contexts`, `swept` entries in all."""

    contexts: Sequence[str]
    vocabulary: int
    forced: int
    swept: int


def verdict(findings: Sequence[Finding], coverage: Coverage, settings: SettingsRecord) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons, for a scan without a reference model."""
    looked = (
        f"{coverage.forced} of {coverage.vocabulary} vocabulary entries were forced in: "
        f"{', '.join(coverage.contexts)}; the report lists the others with the reason."
    )
    no_reference = "No reference model was given, so pre-training boilerplate cannot be told from a planted text."
    strong = [f for f in findings if f.score >= SUSPICIOUS_SCORE and not f.degenerate]
    if strong:
        top = max(strong, key=lambda f: f.score)
        evidence = (
            f"{len(strong)} text(s) come out with a mean token probability of at least {SUSPICIOUS_SCORE}; "
            f"the highest has {top.score:.3f} after forcing token {top.forced_token.id} in `{top.context}`."
        )
        return Verdict.suspicious, [evidence, looked, no_reference]
    if (gap := _gap(findings, coverage, settings)) is not None:
        return Verdict.inconclusive, [gap, looked]
    none = f"No text reached a mean token probability of {SUSPICIOUS_SCORE}."
    limits = "A lightly trained text, or one behind another context, can stay below it."
    return Verdict.clean, [none, looked, limits]


def _gap(findings: Sequence[Finding], coverage: Coverage, settings: SettingsRecord) -> str | None:
    """Why finding nothing would mean nothing, if it would."""
    if coverage.swept < coverage.forced * len(coverage.contexts):
        return "The sweep did not cover the whole vocabulary."
    if coverage.forced < LEAST_COVERAGE * coverage.vocabulary:
        return "Most of the vocabulary is marked special or unused, so too little of it could be forced."
    if settings.floor > SUSPICIOUS_SCORE:
        return f"The floor of {settings.floor} hides texts that would count from {SUSPICIOUS_SCORE}; lower it."
    for context in coverage.contexts:
        kept = [finding for finding in findings if finding.context == context]
        if len(kept) >= settings.keep and min(f.sweep_score for f in kept) >= SUSPICIOUS_SCORE:
            return f"Loops filled all {settings.keep} places in `{context}`; raise keep."
    return None
