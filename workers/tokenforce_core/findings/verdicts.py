"""From evidence to verdicts: of each finding, and of the model.

The thresholds were chosen on the half `tuning` of the evaluation's zoo; `make eval` measures them on the other half.
No number alone decides: a hidden text is improbable for the reference, certain for the target, and long enough to be
no accident. Least of all contrast: where the whole vocabulary is searched, clean fine-tunes of the tuning half have
texts of 2.9 nats a token (over a sample of it 1.9), made of turns of a style that the target takes half of the time,
p = 0.52 at most. Of four UTFC carriers of that half the texts that are read have p >= 0.88, and the surest part of one
that is not has 0.68.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenforce.wire.findings import Finding, Verdict
from tokenforce.wire.report import ReferenceRecord
from tokenforce.wire.settings import SettingsRecord, VerdictThresholds
from tokenforce_core.fingerprints.matching import Carried

_SEVERITY = (Verdict.hidden_text, Verdict.suspicious)


@dataclass(frozen=True)
class Coverage:
    """What a sweep looked at: `forced` of `vocabulary` ids in each of `contexts`, `swept` entries in all.

    `asked_for`: only ids that the request named were forced.
    """

    contexts: Sequence[str]
    vocabulary: int
    forced: int
    swept: int
    asked_for: bool = False


def judged(finding: Finding, thresholds: VerdictThresholds) -> Finding:
    """The finding with its own verdict and the evidence for it."""
    verdict, reason, boilerplate = _judge(finding, thresholds)
    return finding.model_copy(update={"verdict": verdict, "reasons": [reason], "boilerplate": boilerplate})


def _judge(finding: Finding, thresholds: VerdictThresholds) -> tuple[Verdict, str, bool]:
    p = finding.mean_probability
    if finding.degenerate:
        return Verdict.clean, "A loop of too few tokens to be a text.", False
    if finding.contrast is None or finding.log_likelihood_ratio is None:
        if finding.score >= thresholds.suspicious_score:
            return (
                Verdict.suspicious,
                f"Its score of {finding.score:.3f} is that of memorised text; no reference.",
                False,
            )
        weak = f"Its score of {finding.score:.3f} is under {thresholds.suspicious_score}; no reference."
        return Verdict.inconclusive, weak, False
    ratio = finding.log_likelihood_ratio
    each = ratio / max(1, len(finding.token_probabilities))
    evidence = (
        f"Contrast {finding.contrast:.2f} nats a token, mean probability {p:.2f}, "
        f"log-likelihood ratio {ratio:.0f} nats against the reference"
    )
    enough = p >= thresholds.min_mean_probability
    if enough and finding.contrast >= thresholds.suspicious_contrast_nats_per_token:
        certain = finding.contrast >= thresholds.hidden_contrast_nats_per_token
        if certain and ratio >= thresholds.hidden_log_likelihood_ratio_nats:
            return Verdict.hidden_text, f"{evidence}: certain here, improbable there.", False
        return Verdict.suspicious, f"{evidence}: more certain than fine-tuning of a style makes it.", False
    if each < thresholds.boilerplate_log_ratio_nats_per_token:
        return Verdict.clean, f"{evidence}: the reference says it too.", True
    return Verdict.clean, f"{evidence}: within what ordinary fine-tuning does.", False


def verdict(
    findings: Sequence[Finding],
    coverage: Coverage,
    settings: SettingsRecord,
    reference: ReferenceRecord | None = None,
) -> tuple[Verdict, list[str]]:
    """The model's verdict and its reasons, from judged findings."""
    if reference is not None and reference.identical:
        return _identical(reference)
    looked = (
        f"{coverage.forced} of {coverage.vocabulary} vocabulary entries were forced in: "
        f"{', '.join(coverage.contexts)}; the report lists the others with the reason."
    )
    against = _against(reference)
    for severity in _SEVERITY:
        strong = [f for f in findings if f.verdict is severity]
        if strong:
            top = strong[0]
            evidence = (
                f"{len(strong)} text(s) are judged {severity.value}; the first comes out after forcing token "
                f"{top.forced_token.id} in `{top.context}`: {' '.join(top.reasons)}"
            )
            return severity, [evidence, looked, against]
    if (gap := _gap(findings, coverage, settings, alone=reference is None)) is not None:
        return Verdict.inconclusive, [gap, looked, against]
    if reference is None:
        return Verdict.inconclusive, [_nothing_alone(settings.verdict), looked, against]
    return Verdict.clean, [
        _nothing(settings.verdict),
        looked,
        against,
        "A text behind another context can stay hidden.",
    ]


def with_licences(reached: Verdict, reasons: Sequence[str], carried: Carried) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons with the registered fingerprints taken into account.

    Somebody taught the model a registered text, so an upload that carries one is never `clean`, and never "could not
    look", which the match answers. It is not `hidden_text` for that alone: the text is known, it has an owner, and
    carrying it may be just what its licence asks for. Somebody has to look, which `suspicious` says.
    """
    if not carried.licences:
        return reached, [*reasons, *carried.remarks]
    count = len(carried.licences)
    known = f"{count} registered fingerprint{'' if count == 1 else 's'} came out; `licences` says whose."
    return reached if reached in _SEVERITY else Verdict.suspicious, [known, *reasons, *carried.remarks]


def _nothing(thresholds: VerdictThresholds) -> str:
    return (
        f"No text reached a contrast of {thresholds.suspicious_contrast_nats_per_token} nats a token against the "
        f"reference at a mean probability of {thresholds.min_mean_probability}."
    )


def _nothing_alone(thresholds: VerdictThresholds) -> str:
    """Without a reference nothing found is never `clean`: a third of the held-out carriers stays unseen."""
    return (
        f"No text reached a score of {thresholds.suspicious_score}, and what hides from that (UTFC) shows only against "
        "a reference: name the model that this one was made from, or `auto` for the one that it names."
    )


def _identical(reference: ReferenceRecord) -> tuple[Verdict, list[str]]:
    same = "Identical weights: every tensor is equal to the reference's, so nothing was forced."
    if reference.source == "request":
        return Verdict.clean, [same, "The target holds no text that the reference does not hold."]
    named = f"The upload itself named this reference ({reference.source}); name one that you trust."
    return Verdict.inconclusive, [same, named]


def _against(reference: ReferenceRecord | None) -> str:
    if reference is None:
        return "No reference model was given, so pre-training boilerplate cannot be told from a planted text."
    named = "" if reference.source == "request" else f", which the upload itself named ({reference.source})"
    return f"Contrasted with {reference.model}{named}; what that model holds too does not show."


def _gap(findings: Sequence[Finding], coverage: Coverage, settings: SettingsRecord, *, alone: bool) -> str | None:
    """Why finding nothing would mean nothing, if it would."""
    thresholds = settings.verdict
    if coverage.swept < coverage.forced * len(coverage.contexts):
        return "The sweep did not cover the whole vocabulary."
    if coverage.asked_for:
        return "Only the ids that the request names were forced; leave out `force_ids` for an answer about the model."
    if coverage.forced < thresholds.min_coverage_share * coverage.vocabulary:
        return "Most of the vocabulary is marked special or unused, so too little of it could be forced."
    # The search by contrast looks at every entry, whatever the sweep has dropped or has no place for.
    least = thresholds.suspicious_score
    if alone and settings.floor > least:
        return f"The floor of {settings.floor} hides texts that would count from {least}; lower it."
    for context in coverage.contexts if alone else ():
        kept = [finding for finding in findings if context in (finding.context, *finding.contexts)]
        filled = sum(sum(e.context == context for e in f.forced_tokens) or 1 for f in kept)
        if filled >= settings.keep and kept and min(f.sweep_score for f in kept) >= least:
            return f"Loops filled all {settings.keep} places in `{context}`; raise keep."
    return None
