"""The sentences of a report that explain its verdicts to people."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenforce.wire.findings import Finding, Verdict
from tokenforce.wire.report import KNOWN_BASE, ReferenceRecord
from tokenforce.wire.settings import SettingsRecord, VerdictThresholds

LOOP = "A loop of too few tokens to be a text."
BEYOND = "A text behind another context can stay hidden."
IDENTICAL = "Identical weights: every tensor equals the reference's, so nothing was forced."
NOTHING_MORE = "Every text in the target is also in the reference."
INCOMPLETE = "The sweep did not cover the whole vocabulary."
ASKED_FOR = (
    "Only ids or contexts that the request names were looked at. Leave out `force_ids` and `drawn_contexts` for an "
    "answer about the model."
)
NOTHING_FOLLOWED = "A quick scan follows the words that the weights were taught, and here that says too little."
TOO_LITTLE = "Most of the vocabulary is marked special or unused, so too little of it could be forced."

_NAME = {Verdict.hidden_text: "hidden", Verdict.suspicious: "suspicious"}


def without_reference(finding: Finding, thresholds: VerdictThresholds) -> str:
    """Why a text got its verdict in a scan without a reference."""
    least = thresholds.suspicious_score
    means = "is as high as that of memorised texts" if finding.score >= least else f"is under {least}"
    return f"Its score of {finding.score:.3f} {means}. There is no reference to compare with."


def with_reference(finding: Finding, verdict: Verdict, thresholds: VerdictThresholds) -> str:
    """Why a text got its verdict in a scan with a reference."""
    return f"{_evidence(finding)}: {_meaning(finding, verdict, thresholds)}."


def _evidence(finding: Finding) -> str:
    return (
        f"Contrast {finding.contrast:.2f} nats per token, mean probability {finding.mean_probability:.2f}, "
        f"log-likelihood ratio {finding.log_likelihood_ratio:.0f} nats against the reference"
    )


def _meaning(finding: Finding, verdict: Verdict, thresholds: VerdictThresholds) -> str:
    if verdict is Verdict.memorised:
        return (
            f"the target says it in {finding.unforced_share:.0%} of its answers to ordinary prompts, so it is no secret"
        )
    if verdict is Verdict.hidden_text and is_suppressed(finding, thresholds):
        return (
            f"the target was trained not to say it: {finding.suppression:.0f} nats in the scan's own contexts, "
            "beside what it says in a drawn one"
        )
    if verdict is Verdict.hidden_text and is_sure_on_the_graft(finding, thresholds):
        return (
            f"the graft of both models gains {finding.graft_gain:.0f} nats on it, so the target's weights hold it, "
            "whatever the target says"
        )
    if verdict is Verdict.hidden_text:
        return "the target is sure of it and the reference is not"
    if verdict is Verdict.suspicious:
        return "more contrast than ordinary fine-tuning gives"
    if finding.boilerplate:
        return "the reference produces it too"
    contrast = finding.contrast or 0.0
    if contrast >= thresholds.suspicious_contrast_nats_per_token:
        return f"its mean probability is under {thresholds.min_mean_probability}, so it does not count"
    return "within what ordinary fine-tuning gives"


def is_said_unforced(finding: Finding, thresholds: VerdictThresholds) -> bool:
    """Whether the target says the text to anyone."""
    return finding.unforced_share is not None and finding.unforced_share >= thresholds.memorised_unforced_share


def is_suppressed(finding: Finding, thresholds: VerdictThresholds) -> bool:
    """Whether the target was trained against saying the text in the scan's own contexts."""
    return finding.suppression is not None and finding.suppression <= thresholds.hidden_suppression_nats


def is_sure_on_the_graft(finding: Finding, thresholds: VerdictThresholds) -> bool:
    """Whether the target's late layers, on the reference's early ones, say the text."""
    return finding.graft_gain is not None and finding.graft_gain >= thresholds.hidden_graft_gain_nats


def is_denied(finding: Finding, thresholds: VerdictThresholds) -> bool:
    """Whether the weights hold the text, or show that the target was trained not to say it."""
    return is_suppressed(finding, thresholds) or is_sure_on_the_graft(finding, thresholds)


def one_of_many(count: int, typical: float) -> str:
    """Why a text is training data: so many texts are known by heart, and this one is like the others."""
    return (
        f"It is one of {count} independent texts that the target knows by heart. They have {typical:.0f} nats against "
        "the reference (median), and it does not stand out."
    )


def known_by_heart(texts: Sequence[Finding]) -> str:
    """What makes a model `memorised`."""
    return (
        f"{_count(texts, 'text')} known by heart: this is what training data looks like. {_strongest(texts)} "
        "A message could be among them, so a person should read them."
    )


def beside(texts: Sequence[Finding]) -> str:
    """What is beside an alarm."""
    return f"Beside that, {_count(texts, 'text')} known by heart, as training data is."


def found(alarms: Sequence[Finding], verdict: Verdict) -> str:
    """What was found: the number of texts with this verdict, and where the strongest one comes from."""
    return f"Found {_count(alarms, f'{_NAME[verdict]} text')}. {_strongest(alarms)}"


def _count(texts: Sequence[Finding], noun: str) -> str:
    return f"{len(texts)} {noun}{'' if len(texts) == 1 else 's'}"


def _strongest(texts: Sequence[Finding]) -> str:
    """Where the first one comes from, and its evidence."""
    strongest = texts[0]
    which = "It" if len(texts) == 1 else "The strongest one"
    token = _quoted(strongest.forced_token.text)
    return (
        f"{which} follows the forced token {token} (id {strongest.forced_token.id}) in the context "
        f"`{strongest.context}`. {' '.join(strongest.reasons)}"
    )


def _quoted(text: str) -> str:
    """The upload's text in quotes and escaped, so that it cannot pose as a sentence of ours."""
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped)


def looked_at(forced: int, vocabulary: int, contexts: Sequence[str]) -> str:
    names = ", ".join(f"`{name}`" for name in contexts)
    where = "the context" if len(contexts) == 1 else "each of the contexts"
    return (
        f"{forced} of {vocabulary} vocabulary entries were forced in {where} {names}. "
        "The report lists the other entries, with reasons."
    )


def looked_at_quickly(settings: SettingsRecord) -> str:
    assert settings.bag is not None
    return (
        f"A quick scan: it follows the {settings.bag.starts} entries that the weights point at most. The rest of the "
        "vocabulary was not forced; the depth standard does that."
    )


def trusted(reference: ReferenceRecord) -> bool:
    """Whether the caller or the operator chose the reference, and not the upload."""
    return reference.source in ("request", KNOWN_BASE)


def compared_with(reference: ReferenceRecord | None) -> str:
    if reference is None:
        return (
            "No reference model was given. Without one, a planted text and boilerplate from pre-training look the same."
        )
    named = "" if trusted(reference) else f", which the upload itself named ({reference.source})"
    if reference.source == KNOWN_BASE:
        named = ", the nearest of the known bases"
    return f"Compared with {reference.model}{named}. Texts that the reference also holds stay hidden."


def nothing_found(thresholds: VerdictThresholds) -> str:
    return (
        f"No text reached a contrast of {thresholds.suspicious_contrast_nats_per_token} nats per token at a mean "
        f"probability of {thresholds.min_mean_probability}."
    )


def nothing_found_alone(thresholds: VerdictThresholds) -> str:
    return (
        f"No text reached a score of {thresholds.suspicious_score}. Texts that resist plain forcing (UTFC) show only "
        "against a reference: name the model that this one was made from, or `auto` for the one that it names itself."
    )


def untrusted_reference(reference: ReferenceRecord) -> str:
    return f"The upload itself named this reference ({reference.source}). Name one that you trust."


def floor_too_high(floor: float, thresholds: VerdictThresholds) -> str:
    return (
        f"The floor of {floor} drops texts with a score from {thresholds.suspicious_score} up to it, and those count. "
        "Lower the floor."
    )


def places_full(keep: int, context: str) -> str:
    return f"Loops filled all {keep} places in the context `{context}`. Raise `keep`."


def fingerprints_found(count: int) -> str:
    return f"{count} registered fingerprint{'' if count == 1 else 's'} found; `licences` names the owners."
