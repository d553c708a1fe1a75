"""Rates over rows, with their confidence bounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import beta

from tokenforce.wire.findings import Verdict
from tokenforce_eval.rows import Row
from tokenforce_planting.text_overlap import MATCH_SHARE

CONFIDENCE = 0.95


def upper_bound(alarms: int, of: int) -> float:
    """One-sided 95 % Clopper–Pearson bound: the largest rate that `alarms` in `of` trials allow."""
    if not 0 <= alarms <= of:
        raise ValueError(f"{alarms} of {of} is not a count")
    return 1.0 if alarms == of else float(beta.ppf(CONFIDENCE, alarms + 1, of - alarms))


def lower_bound(hits: int, of: int) -> float:
    """One-sided 95 % Clopper–Pearson bound: the smallest rate that `hits` in `of` trials allow."""
    return 1.0 - upper_bound(of - hits, of)


@dataclass(frozen=True)
class Recall:
    """How often the hidden text is found, over `models`. Found: at least `rows.FOUND_SHARE` of it in one finding.

    `first`, `first_ten`: at rank 1, at ranks 1 to 10. `whole`: at rank 1 with `MATCH_SHARE` of the text. `share`: the
    median share of the text over all models, 0 where it was not found. `hidden_text`: verdicts. The costs are means.
    """

    models: int
    first: int
    first_ten: int
    whole: int
    share: float
    hidden_text: int
    seconds: float
    forward_tokens: float


@dataclass(frozen=True)
class FalseAlarms:
    """Verdicts on `models` that hide nothing."""

    models: int
    hidden_text: int
    suspicious: int

    @property
    def bound(self) -> float:
        """Upper bound of the rate of `hidden_text`."""
        return upper_bound(self.hidden_text, self.models)

    @property
    def suspicious_bound(self) -> float:
        """Upper bound of the rate of both verdicts together."""
        return upper_bound(self.hidden_text + self.suspicious, self.models)


def recall(rows: Sequence[Row]) -> Recall:
    """Rates of one method, over at least one row. For models that hide nothing only the costs have a meaning."""
    return Recall(
        models=len(rows),
        first=sum(row.rank == 1 for row in rows),
        first_ten=sum(row.rank is not None and row.rank <= 10 for row in rows),
        whole=sum(row.rank == 1 and row.share >= MATCH_SHARE for row in rows),
        share=statistics.median(row.share for row in rows),
        hidden_text=sum(row.verdict == Verdict.hidden_text for row in rows),
        seconds=statistics.mean(row.seconds for row in rows),
        forward_tokens=statistics.mean(row.forward_tokens for row in rows),
    )


def false_alarms(rows: Sequence[Row]) -> FalseAlarms:
    """False alarms of one method, over rows of models that hide nothing.

    A base that is its own reference does not count: the service sees that both are identical and runs nothing.
    """
    verdicts = [row.verdict for row in rows if row.forward_tokens]
    return FalseAlarms(len(verdicts), verdicts.count(Verdict.hidden_text), verdicts.count(Verdict.suspicious))
