"""Ordinary training data, told from planted texts by their number.

A fine-tune that was trained long enough knows dozens of its answers so well that each one alone passes for a hidden
text. So several independent texts of which none stands out are training data: `memorised`. What stands out beside them
stays what it is: a text of far more evidence, one that the target was trained not to say, one that the graft is sure
of, a registered fingerprint.

What this cannot tell: a message of the same strength that was planted beside such training data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from tokenforce.wire.findings import Finding, Verdict
from tokenforce.wire.settings import SettingsRecord
from tokenforce_core.findings import reasons
from tokenforce_core.forcing.token_runs import Runs, runs

IsRegistered = Callable[[Finding], bool]
"""Whether a finding has the text of a registered fingerprint."""


def none_registered(_: Finding) -> bool:
    return False


def with_memorised(
    findings: Sequence[Finding], settings: SettingsRecord, is_registered: IsRegistered = none_registered
) -> list[Finding]:
    """The judged findings of a whole report, in the same order; those that are training data are `memorised`.

    Texts of `hidden_text` that share no run of tokens are counted, if the model itself ends them: pieces of one long
    text do not end. `suspicious` ones are not counted; they go with the others.
    """
    thresholds = settings.verdict
    alarms = [
        finding
        for finding in findings
        if finding.verdict in (Verdict.hidden_text, Verdict.suspicious)
        and finding.log_likelihood_ratio is not None
        and not reasons.is_denied(finding, thresholds)
        and not is_registered(finding)
    ]
    whole = [finding for finding in alarms if finding.verdict is Verdict.hidden_text and finding.ended]
    texts = _independent(whole, settings.findings.run_tokens)
    if len(texts) < thresholds.memorised_texts:
        return list(findings)
    typical = median(map(_evidence, texts))
    least = thresholds.outlier_log_likelihood_ratio * typical
    count = sum(_evidence(text) < least for text in texts)
    if count < thresholds.memorised_texts:
        return list(findings)
    ordinary = {id(finding) for finding in alarms if _evidence(finding) < least}
    why = reasons.one_of_many(count, typical)
    return [_memorised(finding, why) if id(finding) in ordinary else finding for finding in findings]


def _memorised(finding: Finding, why: str) -> Finding:
    return finding.model_copy(update={"verdict": Verdict.memorised, "reasons": [*finding.reasons, why]})


def _independent(findings: Sequence[Finding], run_tokens: int) -> list[Finding]:
    """Texts of which no two share a run of tokens, the strongest first. The order of `findings` does not matter."""
    kept: list[Finding] = []
    known: set[tuple[int, ...]] = set()
    for finding in sorted(findings, key=lambda finding: (-_evidence(finding), finding.token_ids)):
        own: Runs = runs(finding.token_ids, run_tokens)
        if known.isdisjoint(own):
            known |= own
            kept.append(finding)
    return kept


def _evidence(finding: Finding) -> float:
    """The log-likelihood ratio of the whole text, in nats."""
    return finding.log_likelihood_ratio or 0.0
