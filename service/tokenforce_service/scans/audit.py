"""The decision on an upload: the rules of a policy, applied to the report of its scan. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenforce.wire.audits import AuditAnswer, AuditRules, Decision, Ground
from tokenforce.wire.findings import LicenceMatch, Verdict
from tokenforce.wire.report import Report
from tokenforce.wire.scans import Depth, ScanStatus
from tokenforce_core.findings.verdicts import Coverage, verdict
from tokenforce_core.plan.vocabulary import only_asked_for
from tokenforce_core.scans.row import ScanRow
from tokenforce_service.refusals import counted

_GROUND_OF = {
    Verdict.hidden_text: Ground.hidden_text,
    Verdict.suspicious: Ground.suspicious,
    Verdict.memorised: Ground.memorised,
}


def audit_of(row: ScanRow, report: Report | None) -> AuditAnswer | None:
    """The decision for a scan that has ended; None before.

    `row.origin` has the rules if a hook started the scan; otherwise the default rules apply. Without a report the
    decision is `could_not_scan`, and so it is for an inconclusive report in which nothing speaks against the upload.
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
    why = "The scan was cancelled." if row.status is ScanStatus.cancelled else "This scan has no report."
    return Decision.could_not_scan, [why]


def _decided(report: Report, rules: AuditRules) -> tuple[Decision, list[str]]:
    counted = _counted(report, rules)
    accepted = [match for match in counted if rules.accepts(match.licence)]
    others = [match for match in counted if not rules.accepts(match.licence)]
    reached, reasons = _beside(report, accepted, others)
    grounds = {_GROUND_OF[reached]} if reached in _GROUND_OF else set()
    if Ground.memorised in grounds and Ground.memorised not in (*rules.block_on, *rules.review_on):
        # A policy of before this verdict, or one that forgets it: four decoys beside a message must not let it pass.
        grounds = {Ground.suspicious}
    grounds |= {Ground.licence} if others else set()
    reasons += [f"{_carried(match)}. The policy does not accept this licence." for match in others]
    reasons += [f"{_carried(match)}. The policy accepts this licence." for match in accepted]
    if grounds & set(rules.block_on):
        return Decision.block, reasons
    if grounds & set(rules.review_on):
        return Decision.review, reasons
    if reached is Verdict.inconclusive:
        return Decision.could_not_scan, reasons
    return Decision.allow, [*reasons, *(["The policy does not act on this."] if grounds else [])]


def _counted(report: Report, rules: AuditRules) -> list[LicenceMatch]:
    return [match for match in report.licences if rules.asks_for(match.owner)]


def _beside(
    report: Report, accepted: Sequence[LicenceMatch], others: Sequence[LicenceMatch]
) -> tuple[Verdict, list[str]]:
    """The verdict without the texts of accepted licences, and without the fact that a licence was found."""
    findings, reached, why = report.findings, report.verdict, report.reasons
    if report.licences:
        known = _ranks(accepted) - _ranks(others)
        findings = [f.model_copy(update={"verdict": Verdict.clean}) if f.rank in known else f for f in findings]
        record = report.scan
        names = record.forced_contexts
        # The coverage is complete: a scan has a report only after all shards.
        swept, asked_for = record.forced * len(names), only_asked_for(record.skipped)
        quick = record.depth is Depth.quick
        coverage = Coverage(names, record.target.vocabulary_size, record.forced, swept, asked_for, quick)
        reached, why = verdict(findings, coverage, record.settings, record.reference, report.weights)
    if reached in _GROUND_OF:
        count = sum(finding.verdict is reached for finding in findings)
        return reached, [f"The report has {counted(count, 'finding')} with the verdict {reached.value}."]
    if reached is Verdict.inconclusive:
        return reached, why[:1]
    return reached, [f"The scan found no {'other ' if report.licences else ''}hidden or suspicious text."]


def _ranks(licences: Iterable[LicenceMatch]) -> set[int]:
    """Ranks of the findings that are these texts, or parts of them, with little else beside."""
    return {rank for match in licences for rank in match.finding_ranks}


def _carried(match: LicenceMatch) -> str:
    return f"The model carries the fingerprint {match.fingerprint} of {match.owner} ({match.licence})"
