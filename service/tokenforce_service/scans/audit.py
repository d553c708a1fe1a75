"""From a scan that has ended to what should be done with the upload: the policy's rules over the report. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenforce.wire.audits import AuditAnswer, AuditRules, Decision, Ground
from tokenforce.wire.findings import LicenceMatch, Verdict
from tokenforce.wire.report import Report
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.findings.verdicts import Coverage, verdict
from tokenforce_core.plan.vocabulary import only_asked_for
from tokenforce_core.scans.row import ScanRow

_GROUND_OF = {Verdict.hidden_text: Ground.hidden_text, Verdict.suspicious: Ground.suspicious}


def audit_of(row: ScanRow, report: Report | None) -> AuditAnswer | None:
    """The answer for a scan that has ended, None before.

    `row.origin` has the rules if a hook started it; otherwise the default ones hold. A scan without a report, and an
    inconclusive one, is `could_not_scan`, unless what was found all the same speaks against the upload.
    """
    if not row.status.final:
        return None
    rules = row.origin.rules if row.origin is not None else AuditRules()
    decision, reasons = _without_report(row) if report is None else _decided(report, rules)
    path = f"/v1/scans/{row.id}"
    links = {"self": f"{path}/audit", "scan": path}
    return AuditAnswer(
        scan_id=row.id,
        model=row.request.model,
        decision=decision,
        reasons=reasons,
        licences=_counted(report, rules) if report is not None else [],
        verdict=report.verdict if report is not None else None,
        hook_id=row.origin.hook_id if row.origin is not None else None,
        metadata=row.origin.metadata if row.origin is not None else {},
        links=links if report is None else {**links, "report": f"{path}/report"},
    )


def _without_report(row: ScanRow) -> tuple[Decision, list[str]]:
    if row.error is not None:
        return Decision.could_not_scan, [f"{row.error.code}: {row.error.detail}"]
    why = "The scan was cancelled." if row.status is ScanStatus.cancelled else "There is no report of this scan."
    return Decision.could_not_scan, [why]


def _decided(report: Report, rules: AuditRules) -> tuple[Decision, list[str]]:
    counted = _counted(report, rules)
    accepted = [match for match in counted if rules.accepts(match.licence)]
    others = [match for match in counted if not rules.accepts(match.licence)]
    reached, reasons = _beside(report, accepted, others)
    grounds = {_GROUND_OF[reached]} if reached in _GROUND_OF else set()
    grounds |= {Ground.licence} if others else set()
    reasons += [f"{_carried(match)}, which the policy does not accept." for match in others]
    reasons += [f"{_carried(match)}, which the policy accepts." for match in accepted]
    if grounds & set(rules.block_on):
        return Decision.block, reasons
    if grounds & set(rules.review_on):
        return Decision.review, reasons
    if reached is Verdict.inconclusive:
        return Decision.could_not_scan, reasons
    return Decision.allow, [*reasons, *(["The policy acts on none of this."] if grounds else [])]


def _counted(report: Report, rules: AuditRules) -> list[LicenceMatch]:
    return [match for match in report.licences if rules.asks_for(match.owner)]


def _beside(
    report: Report, accepted: Sequence[LicenceMatch], others: Sequence[LicenceMatch]
) -> tuple[Verdict, list[str]]:
    """The verdict if the texts of accepted licences, and that a licence was found, count for nothing."""
    findings, reached, why = report.findings, report.verdict, report.reasons
    if report.licences:
        known = _ranks(accepted) - _ranks(others)
        findings = [f.model_copy(update={"verdict": Verdict.clean}) if f.rank in known else f for f in findings]
        record = report.scan
        names = [context.name for context in record.contexts]
        # Complete, as a scan reaches its report with all shards only.
        swept, asked_for = record.forced * len(names), only_asked_for(record.skipped)
        coverage = Coverage(names, record.target.vocabulary_size, record.forced, swept, asked_for)
        reached, why = verdict(findings, coverage, record.settings, record.reference)
    if reached in _GROUND_OF:
        count = sum(finding.verdict is reached for finding in findings)
        return reached, [f"{count} text(s) are judged {reached.value}; the report quotes them."]
    if reached is Verdict.inconclusive:
        return reached, why[:1]
    return reached, ["No other text that counts was found." if report.licences else "No text that counts was found."]


def _ranks(licences: Iterable[LicenceMatch]) -> set[int]:
    """The findings that are their texts, or pieces of those, and say little else: a long text comes out as several."""
    return {rank for match in licences for rank in match.finding_ranks}


def _carried(match: LicenceMatch) -> str:
    return f"It carries the fingerprint {match.fingerprint} of {match.owner} ({match.licence})"
