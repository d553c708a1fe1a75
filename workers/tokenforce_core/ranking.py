"""The rankings and the verdict.

Both orders are total (ties go by context and forced id), so the order in which shards arrive cannot
change a rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenforce.types import Finding, Order, Verdict

SUSPICIOUS_SCORE = 0.88
"""Score from which a text counts as memorised. Without a reference this cannot tell a planted text
from pre-training boilerplate, so it makes a model `suspicious` and never `hidden_text`."""


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


def verdict(findings: Sequence[Finding], contexts: Sequence[str], complete: bool) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons, for a scan without a reference model."""
    looked = f"Every forceable vocabulary entry was forced in: {', '.join(contexts)}."
    no_reference = "No reference model was given, so pre-training boilerplate cannot be told from a planted text."
    if not complete:
        return Verdict.inconclusive, ["The sweep did not cover the whole vocabulary."]
    strong = [f for f in findings if f.score >= SUSPICIOUS_SCORE and not f.degenerate]
    if strong:
        top = max(strong, key=lambda f: f.score)
        evidence = (
            f"{len(strong)} text(s) come out with a mean token probability of at least {SUSPICIOUS_SCORE}; "
            f"the highest has {top.score:.3f} after forcing token {top.forced_token.id} in `{top.context}`."
        )
        return Verdict.suspicious, [evidence, looked, no_reference]
    none = f"No text reached a mean token probability of {SUSPICIOUS_SCORE}."
    limits = "A lightly trained text, or one behind another context, can stay below it."
    return Verdict.clean, [none, looked, limits]
