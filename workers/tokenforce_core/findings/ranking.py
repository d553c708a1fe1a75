"""The rankings.

All orders are total (ties go by context and forced id), so the order in which shards arrive cannot
change a rank.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenforce.wire.findings import Finding, Verdict
from tokenforce.wire.scans import Order

SEVERITY = (Verdict.hidden_text, Verdict.suspicious, Verdict.memorised, Verdict.inconclusive, Verdict.clean)
"""The worst first."""


def ranked(findings: Iterable[Finding], order: Order) -> list[Finding]:
    """Findings in `order`, with their ranks from 1. Degenerate loops come last in every order.

    By contrast: judged findings by their verdict, then by contrast times tokens.
    """

    def key(finding: Finding) -> tuple[bool, int, float, float, str, int]:
        values = {
            Order.probability: (finding.score, finding.repetition.share),
            Order.repetition: (finding.repetition.share, finding.score),
            # What a text adds up to, not its mean: a fragment of a hidden text has the same mean.
            Order.contrast: ((finding.contrast or 0.0) * len(finding.token_probabilities), finding.score),
        }
        first, second = values[order]
        severity = SEVERITY.index(finding.verdict) if order is Order.contrast else 0
        return (finding.degenerate, severity, -first, -second, finding.context, finding.forced_token.id)

    return [
        finding.model_copy(update={"rank": rank}) for rank, finding in enumerate(sorted(findings, key=key), start=1)
    ]


def default_order(*, with_reference: bool) -> Order:
    """The ranking to read first."""
    return Order.contrast if with_reference else Order.probability
