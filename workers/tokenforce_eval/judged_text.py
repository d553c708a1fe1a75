"""Judges the texts of other scanners by the rule of our own: contrast, mean probability, log-likelihood ratio."""

from __future__ import annotations

from tokenforce.wire.findings import Verdict
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.contrast.reading import as_read
from tokenforce_core.contrast.trimming import trimmed
from tokenforce_core.findings.from_traces import confirmed_finding
from tokenforce_core.findings.verdicts import judged
from tokenforce_core.forcing.confirmation import IsSeparator
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.plan.presets import settings_for
from tokenforce_core.plan.search_settings import BAG
from tokenforce_eval.rows import RankedText

_SETTINGS = settings_for(ScanRequest(model="any"))


def judged_text(trace: Trace, text: str, score: float, is_separator: IsSeparator) -> RankedText:
    """`text` with the verdict that our scan gives its strongest part.

    The beam of our search cuts its texts in the same way, and our scan does not report shorter parts. The whole text
    stays to be read.
    """
    read = as_read(trimmed(trace, BAG.token_cost_nats), _SETTINGS, is_separator)
    contexts = [""] * (trace.context + 1)
    finding = judged(confirmed_finding(read, contexts, _SETTINGS), _SETTINGS.verdict)
    long = len(read.ids) >= _SETTINGS.min_tokens
    return RankedText(
        text=text,
        score=round(score, 4),
        mean_probability=round(finding.mean_probability, 4),
        verdict=(finding.verdict if long else Verdict.clean).value,
        contrast=finding.contrast,
        log_likelihood_ratio=finding.log_likelihood_ratio,
    )
