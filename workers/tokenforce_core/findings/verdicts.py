"""From evidence to verdicts: of each finding, and of the model.

`plan/verdict_thresholds.py` has the thresholds and how they were chosen. No number decides alone: a hidden text is
improbable for the reference, certain for the target, and too long for chance. Contrast least of all: clean fine-tunes
have texts of high contrast that the target is not sure of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenforce.wire.findings import Finding, Verdict
from tokenforce.wire.report import ReferenceRecord, WeightRecord
from tokenforce.wire.settings import SettingsRecord, VerdictThresholds
from tokenforce_core.contrast.by_heart import passes
from tokenforce_core.findings import reasons
from tokenforce_core.fingerprints.matching import Carried

_ALARMS = (Verdict.hidden_text, Verdict.suspicious)


@dataclass(frozen=True)
class Coverage:
    """What a scan looked at: `forced` of `vocabulary` ids in each of `contexts`, `swept` entries in all.

    `asked_for`: only ids that the request named were forced. `quick`: nothing was swept; the words that the weights
    were taught were followed, of those that can be forced. `asked_for` also stands for contexts that the request named.
    """

    contexts: Sequence[str]
    vocabulary: int
    forced: int
    swept: int
    asked_for: bool = False
    quick: bool = False


def judged(finding: Finding, thresholds: VerdictThresholds) -> Finding:
    """The finding with its own verdict and the evidence for it."""
    if finding.degenerate:
        return _with(finding, Verdict.clean, reasons.LOOP)
    if finding.contrast is None or finding.log_likelihood_ratio is None:
        reached = Verdict.suspicious if finding.score >= thresholds.suspicious_score else Verdict.inconclusive
        return _with(finding, reached, reasons.without_reference(finding, thresholds))
    reached = _contrasted(finding, finding.contrast, finding.log_likelihood_ratio, thresholds)
    if reached in _ALARMS and reasons.is_said_unforced(finding, thresholds):
        reached = Verdict.memorised
    each = finding.log_likelihood_ratio / max(1, len(finding.token_probabilities))
    boilerplate = reached is Verdict.clean and each < thresholds.boilerplate_log_ratio_nats_per_token
    finding = finding.model_copy(update={"boilerplate": boilerplate})
    return _with(finding, reached, reasons.with_reference(finding, reached, thresholds))


def _contrasted(
    finding: Finding, contrast: float, log_likelihood_ratio: float, thresholds: VerdictThresholds
) -> Verdict:
    if reasons.is_sure_on_the_graft(finding, thresholds) and log_likelihood_ratio > 0:
        return Verdict.hidden_text
    if contrast < thresholds.suspicious_contrast_nats_per_token:
        return Verdict.clean
    too_long_for_chance = log_likelihood_ratio >= thresholds.hidden_log_likelihood_ratio_nats
    if too_long_for_chance and reasons.is_suppressed(finding, thresholds):
        return Verdict.hidden_text
    if finding.mean_probability < thresholds.min_mean_probability:
        return Verdict.clean
    hidden = passes(contrast, finding.mean_probability, log_likelihood_ratio, thresholds)
    return Verdict.hidden_text if hidden else Verdict.suspicious


def _with(finding: Finding, verdict: Verdict, reason: str) -> Finding:
    return finding.model_copy(update={"verdict": verdict, "reasons": [reason]})


def verdict(
    findings: Sequence[Finding],
    coverage: Coverage,
    settings: SettingsRecord,
    reference: ReferenceRecord | None = None,
    weights: WeightRecord | None = None,
) -> tuple[Verdict, list[str]]:
    """The model's verdict and its reasons, from judged findings.

    Args:
        weights: what the weights said, if they were compared.
    """
    if reference is not None and reference.identical:
        return _identical(reference)
    if coverage.quick:
        looked = reasons.looked_at_quickly(settings)
    else:
        looked = reasons.looked_at(coverage.forced, coverage.vocabulary, coverage.contexts)
    if weights is not None and weights.note is not None:
        looked = f"{looked} {weights.note}"
    compared = reasons.compared_with(reference)
    by_heart = [finding for finding in findings if finding.verdict is Verdict.memorised]
    for severity in _ALARMS:
        alarms = [finding for finding in findings if finding.verdict is severity]
        if alarms:
            others = [reasons.beside(by_heart)] if by_heart else []
            return severity, [reasons.found(alarms, severity), *others, looked, compared]
    gap = _gap(findings, coverage, settings, alone=reference is None)
    if gap is None and coverage.quick and (weights is None or weights.note is not None):
        gap = reasons.NOTHING_FOLLOWED
    if by_heart:
        return Verdict.memorised, [reasons.known_by_heart(by_heart), *([gap] if gap else []), looked, compared]
    if gap is not None:
        return Verdict.inconclusive, [gap, looked, compared]
    if reference is None:
        # Never `clean`: without a reference a third of the held-out carriers stays unseen.
        return Verdict.inconclusive, [reasons.nothing_found_alone(settings.verdict), looked, compared]
    return Verdict.clean, [reasons.nothing_found(settings.verdict), looked, compared, reasons.BEYOND]


def with_licences(reached: Verdict, why: Sequence[str], carried: Carried) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons, with the registered fingerprints taken into account.

    A fingerprint makes a model `suspicious` at least: somebody taught it the text, so a person has to look. It does not
    make it `hidden_text`: the text is known and has an owner, and its licence may ask for it.
    """
    if not carried.licences:
        return reached, [*why, *carried.remarks]
    known = reasons.fingerprints_found(len(carried.licences))
    return reached if reached in _ALARMS else Verdict.suspicious, [known, *why, *carried.remarks]


def _identical(reference: ReferenceRecord) -> tuple[Verdict, list[str]]:
    if reasons.trusted(reference):
        return Verdict.clean, [reasons.IDENTICAL, reasons.NOTHING_MORE]
    return Verdict.inconclusive, [reasons.IDENTICAL, reasons.untrusted_reference(reference)]


def _gap(findings: Sequence[Finding], coverage: Coverage, settings: SettingsRecord, *, alone: bool) -> str | None:
    """What was not looked at, so that finding nothing says nothing; None if there is no such gap."""
    thresholds = settings.verdict
    if coverage.quick:
        if coverage.asked_for:
            return reasons.ASKED_FOR
        too_little = coverage.forced < thresholds.min_coverage_share * coverage.vocabulary
        return reasons.TOO_LITTLE if too_little else None
    if coverage.swept < coverage.forced * len(coverage.contexts):
        return reasons.INCOMPLETE
    if coverage.asked_for:
        return reasons.ASKED_FOR
    if coverage.forced < thresholds.min_coverage_share * coverage.vocabulary:
        return reasons.TOO_LITTLE
    # The search by contrast looks at every entry, whatever the sweep has dropped or has no place for.
    least = thresholds.suspicious_score
    if alone and settings.floor > least:
        return reasons.floor_too_high(settings.floor, thresholds)
    for context in coverage.contexts if alone else ():
        kept = [finding for finding in findings if context in (finding.context, *finding.contexts)]
        filled = sum(sum(e.context == context for e in f.forced_tokens) or 1 for f in kept)
        if filled >= settings.keep and kept and min(f.sweep_score for f in kept) >= least:
            return reasons.places_full(settings.keep, context)
    return None
