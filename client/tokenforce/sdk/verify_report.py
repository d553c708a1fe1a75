"""Repeats a report's findings on its model: the same forced tokens, contexts, lengths and floor, then a comparison.

The tuned numbers are those of the service; `Verification.notes` says if they differ from the report's. No I/O:
`request_of` makes the scan request, `compared` compares its report with the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tokenforce.sdk.calls import checked
from tokenforce.sdk.errors import NothingToVerify
from tokenforce.wire.findings import Finding, Verdict
from tokenforce.wire.report import ContextRecord, Report, ScanRecord
from tokenforce.wire.scans import ScanRequest

MIN_SHARED_SHARE = 0.9
"""A finding is found again if this share of its tokens, in one piece, is in a finding of the repetition."""
TOLERANCE = 0.02
"""Largest difference of mean probabilities. One machine repeats them to 1e-6, other engines do not."""
CONTRAST_TOLERANCE_NATS = 0.1
"""Largest difference of contrasts, in nats per token."""
_ALARMS = (Verdict.hidden_text, Verdict.suspicious)


class Outcome(StrEnum):
    """What the repetition says of one finding."""

    holds = "holds"
    differs = "differs"
    missing = "missing"


@dataclass(frozen=True)
class Check:
    """One finding of the report, the finding of the repetition with the same text, and what differs."""

    finding: Finding
    again: Finding | None
    outcome: Outcome
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """The checks of a report's findings, in their order. `notes` say what else differs between the two scans."""

    scan_id: str
    tolerance: float
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def holds(self) -> bool:
        return all(check.outcome is Outcome.holds for check in self.checks)


def to_verify(report: Report, top: int | None = None) -> list[Finding]:
    """The findings that carry the verdict (alarms, else memorised texts), else all but loops; the first `top` of them.

    Raises:
        NothingToVerify: there is none.
    """
    texts = [finding for finding in report.findings if not finding.degenerate]
    alarms = [finding for finding in texts if finding.verdict in _ALARMS]
    by_heart = [finding for finding in texts if finding.verdict is Verdict.memorised]
    chosen = (alarms or by_heart or texts)[:top]
    if not chosen:
        raise NothingToVerify("the report has no finding to repeat")
    return chosen


def request_of(report: Report, findings: Sequence[Finding], model: str | None, reference: str | None) -> ScanRequest:
    """A scan that forces only the tokens that led to these findings, otherwise as the report's scan.

    Args:
        model, reference: where they are now; default: where the report's scan found them.

    Raises:
        InvalidRequest: the report has values that no scan can have.
    """
    record = report.scan
    settings = record.settings
    if model is None:
        model = _pinned(record.target.model, record.target.revision)
    if reference is None:
        base = record.reference
        reference = "none" if base is None else _pinned(base.model, base.revision)
    options = {
        "model": model,
        "reference": reference,
        "preset": settings.preset,
        "depth": record.depth,
        "contexts": _as_asked(record.contexts),
        "drawn_contexts": _as_asked(record.drawn_contexts) or None,
        "known_texts": _read_from_weights(findings, record) or None,
        "alpha": settings.alpha,
        "beta": settings.beta,
        "floor": settings.floor,
        "keep": settings.keep,
        "force_ids": sorted({token_id for finding in findings for token_id in _forced_ids(finding)}),
        "force": True,
    }
    return checked(ScanRequest, options)


def compared(report: Report, findings: Sequence[Finding], again: Report, tolerance: float = TOLERANCE) -> Verification:
    """Compare these findings of `report` with the report of their repetition."""
    checks = tuple(_check(finding, again.findings, tolerance) for finding in findings)
    return Verification(again.scan.id, tolerance, checks, tuple(_notes(report, again)))


def _as_asked(contexts: Sequence[ContextRecord]) -> list[dict[str, object]]:
    return [{"name": context.name, "ids": context.ids} for context in contexts]


def _read_from_weights(findings: Sequence[Finding], record: ScanRecord) -> list[dict[str, object]]:
    """The findings in drawn contexts: the search need not find them again, so they are given."""
    drawn = {context.name for context in record.drawn_contexts}
    return [
        {"context": each.context, "ids": each.token_ids, "on_graft": _sure_on_graft(each)}
        for each in findings
        if each.context in drawn
    ]


def _sure_on_graft(finding: Finding) -> bool:
    """Whether the graft may be the ground of the verdict."""
    return finding.graft_gain is not None and finding.verdict in (Verdict.hidden_text, Verdict.memorised)


def _forced_ids(finding: Finding) -> list[int]:
    return [finding.forced_token.id, *(token.id for token in finding.forced_tokens)]


def _pinned(model: str, revision: str | None) -> str:
    """The model at the commit that was scanned; the request may have named a branch or a tag."""
    return model if revision is None else f"{model.partition('@')[0]}@{revision}"


def _check(finding: Finding, others: Sequence[Finding], tolerance: float) -> Check:
    found = max(
        others, key=lambda other: (_shared(finding.token_ids, other.token_ids), _meet(finding, other)), default=None
    )
    if found is None or _shared(finding.token_ids, found.token_ids) < MIN_SHARED_SHARE * len(finding.token_ids):
        return Check(finding, None, Outcome.missing)
    differences = tuple(_differences(finding, found, tolerance))
    return Check(finding, found, Outcome.differs if differences else Outcome.holds, differences)


def _differences(finding: Finding, again: Finding, tolerance: float) -> list[str]:
    found = []
    if abs(finding.mean_probability - again.mean_probability) > tolerance:
        found.append(f"mean probability {finding.mean_probability:.4f}, now {again.mean_probability:.4f}")
    was, now = finding.contrast, again.contrast
    differs = was is not now if was is None or now is None else abs(was - now) > CONTRAST_TOLERANCE_NATS
    if differs:
        found.append(f"contrast {_nats(was)}, now {_nats(now)}")
    if not _meet(finding, again):
        found.append(f"context {finding.context}, now {again.context}")
    if not _same_verdict(finding.verdict, again.verdict):
        found.append(f"verdict {finding.verdict.value}, now {again.verdict.value}")
    return found


def _same_verdict(one: Verdict, other: Verdict) -> bool:
    """`memorised` rests on other texts, or on prompts that each scan draws anew: a text over the bar can be either."""
    over_the_bar = (*_ALARMS, Verdict.memorised)
    return one is other or (Verdict.memorised in (one, other) and one in over_the_bar and other in over_the_bar)


def _meet(finding: Finding, again: Finding) -> bool:
    """Whether both were found in the same context."""
    return finding.context in (again.context, *again.contexts)


def _nats(contrast: float | None) -> str:
    return "unknown" if contrast is None else f"{contrast:.2f} nats per token"


def _shared(ids: Sequence[int], others: Sequence[int]) -> int:
    """Length of the longest run of tokens that both have."""
    best = 0
    row = [0] * (len(others) + 1)
    for one in ids:
        before, row = row, [0] * (len(others) + 1)
        for place, other in enumerate(others, start=1):
            if one == other:
                row[place] = before[place - 1] + 1
                best = max(best, row[place])
    return best


def _notes(report: Report, again: Report) -> list[str]:
    one, other = report.scan, again.scan
    notes = []
    if one.target.digest != other.target.digest:
        notes.append("The model's files differ from those of the report.")
    if (one.reference.digest if one.reference else None) != (other.reference.digest if other.reference else None):
        notes.append("The reference's files differ from those of the report.")
    if one.settings != other.settings:
        notes.append("The service uses other tuned numbers than the report.")
    for name in sorted(one.versions.keys() | other.versions.keys()):
        if one.versions.get(name) != other.versions.get(name):
            notes.append(f"{name} was {one.versions.get(name, 'absent')}, now {other.versions.get(name, 'absent')}.")
    return notes
