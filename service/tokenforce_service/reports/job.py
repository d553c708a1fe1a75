"""The control job that writes a scan's report. Idempotent."""

from __future__ import annotations

import time
from importlib.metadata import version

from tokenforce.wire.report import Report, ScanRecord
from tokenforce.wire.scans import Depth, ScanStatus
from tokenforce_core.findings.from_traces import Evidence, findings_of
from tokenforce_core.findings.ranking import default_order
from tokenforce_core.findings.verdicts import Coverage, verdict, with_licences
from tokenforce_core.fingerprints.matching import matches, registered
from tokenforce_core.fingerprints.store import FingerprintStore
from tokenforce_core.plan.plan import Plan
from tokenforce_core.plan.vocabulary import only_asked_for
from tokenforce_core.scans.reuse import ReusableReports
from tokenforce_core.scans.row import ScanRow
from tokenforce_core.scans.store import Store
from tokenforce_service.moments import moment
from tokenforce_service.settings import ServiceSettings, open_store


def aggregate(scan_id: str) -> None:
    """Rank the confirmed texts, determine the verdict, store the report."""
    settings = ServiceSettings()
    store = open_store(settings)
    row, scan_plan, confirmed = store.row(scan_id), store.plan(scan_id), store.work.confirmed(scan_id)
    if row is None or scan_plan is None or confirmed is None or row.status is not ScanStatus.aggregating:
        return
    searched = store.work.searched(scan_id)
    reference = scan_plan.reference.record if scan_plan.reference is not None else None
    results = store.work.contrast(scan_id)
    order = default_order(with_reference=reference is not None)
    registry = FingerprintStore(store.connection)
    fingerprints = registry.all()
    is_registered = registered(fingerprints, scan_plan.settings.fingerprints)
    findings = findings_of(confirmed, scan_plan, results, order, is_registered)
    forced = len(scan_plan.forceable_ids)
    names = scan_plan.context_names
    forced_contexts = [names[place] for place in scan_plan.forced_contexts]
    quick = scan_plan.depth is Depth.quick
    repeats = scan_plan.drawn_by_request and not scan_plan.sweeps
    asked_for = only_asked_for(scan_plan.skipped) or repeats
    looked_at = row.entries_done if scan_plan.sweeps else row.contrast_done
    coverage = Coverage(forced_contexts, scan_plan.target.vocabulary_size, forced, looked_at, asked_for, quick)
    reached, reasons = verdict(findings, coverage, scan_plan.settings, reference, searched.weights)
    carried = matches(findings, fingerprints, registry.answers(scan_id), scan_plan.settings.fingerprints)
    reached, reasons = with_licences(reached, reasons, carried)
    now = time.time()
    record = ScanRecord(
        id=scan_id,
        target=scan_plan.target,
        reference=reference,
        settings=scan_plan.settings,
        depth=scan_plan.depth,
        contexts=scan_plan.contexts,
        drawn_contexts=scan_plan.drawn,
        forced_contexts=forced_contexts,
        shard_size=scan_plan.shard_size,
        forced=forced,
        skipped=scan_plan.skipped,
        versions={"tokenforce": version("tokenforce"), **store.engine(scan_id)},
        timings_seconds=_timings(row, now),
        forward_tokens=row.forward_tokens,
        created_at=moment(row.created_at),
        finished_at=moment(now),
    )
    suppressed = Evidence(results, scan_plan.settings).suppressed(names)
    report = Report(
        verdict=reached,
        reasons=[*reasons, *registry.questions(scan_id).left_out],
        scan=record,
        findings=findings,
        weights=searched.weights,
        suppressed=suppressed,
        licences=carried.licences,
    )
    # Before `finish`, which deletes what was noted for this. Without a report, nothing can be reused.
    reports = ReusableReports(store.connection, settings.retention_seconds)
    reports.offer(scan_id, reports.key(row.owner, scan_plan, (f.id for f in fingerprints)), store.engine(scan_id))
    store.finish(scan_id, report)


def finish_by_reuse(store: Store, row: ScanRow, plan: Plan, earlier_id: str | None) -> bool:
    """End the scan `row` with the report of `earlier_id`; False if there is no such report, or the scan has ended."""
    earlier = store.report(earlier_id) if earlier_id is not None else None
    if earlier is None:
        return False
    return store.finish(row.id, as_report_of(row, plan, earlier, time.time()), after=ScanStatus.planning)


def as_report_of(row: ScanRow, plan: Plan, earlier: Report, now: float) -> Report:
    """The earlier report with the id, names and times of this scan. It records which scan measured it, and when."""
    record = earlier.scan.model_copy(
        update={
            "id": row.id,
            "target": plan.target,
            "reference": plan.reference.record if plan.reference is not None else None,
            "timings_seconds": _timings(row, now),
            "forward_tokens": 0,
            "created_at": moment(row.created_at),
            "finished_at": moment(now),
            "reused_from": earlier.scan.id,
            "measured_at": earlier.scan.finished_at,
        }
    )
    return earlier.model_copy(update={"scan": record})


def _timings(row: ScanRow, now: float) -> dict[str, float]:
    """Seconds spent in each status, and in total."""
    times = sorted([("queued", row.created_at), *((s.value, at) for s, at in row.reached.items())], key=lambda t: t[1])
    ends = [at for _, at in times[1:]] + [now]
    spent = {name: round(end - start, 3) for (name, start), end in zip(times, ends, strict=True)}
    return {**spent, "total": round(now - row.created_at, 3)}
