"""Stored scans as wire documents."""

from __future__ import annotations

from tokenforce.wire.events import ScanEvent
from tokenforce.wire.findings import Finding
from tokenforce.wire.scans import Order, Progress, RequestRecord, Scan, ScanStatus
from tokenforce_core.findings.from_traces import findings_of, swept_finding
from tokenforce_core.findings.ranking import default_order, ranked
from tokenforce_core.scans.events import ScanChange
from tokenforce_core.scans.row import ScanRow, ScanState
from tokenforce_core.scans.store import Store
from tokenforce_core.scans.work_store import CONTRAST_PART
from tokenforce_service.moments import moment


def scan_view(row: ScanRow) -> Scan:
    link = f"/v1/scans/{row.id}"
    links = {"self": link, "findings": f"{link}/findings"}
    if row.status is ScanStatus.succeeded:
        links["report"] = f"{link}/report"
    return Scan(
        id=row.id,
        owner=row.owner,
        status=row.status,
        model=row.request.model,
        request=RequestRecord(**row.request.model_dump()),
        progress=progress_view(row),
        created_at=moment(row.created_at),
        started_at=moment(row.reached.get(ScanStatus.planning)),
        finished_at=moment(row.finished_at),
        verdict=row.verdict,
        error=row.error,
        hook_id=row.origin.hook_id if row.origin is not None else None,
        links=links,
    )


def event_view(change: ScanChange) -> ScanEvent:
    return ScanEvent(
        id=change.id,
        kind=change.kind,
        scan_id=change.scan_id,
        at=moment(change.at),
        status=change.state.status,
        progress=progress_view(change.state),
        verdict=change.state.verdict,
        error=change.state.error,
    )


def progress_view(row: ScanState) -> Progress:
    """Counts of the current stage. Rates end at the last recorded progress, so a poll in between shows no change."""
    confirm_done, confirm_tokens = row.live.get("confirm", (0, 0))
    contrasting = [counts for part, counts in row.live.items() if part.startswith(CONTRAST_PART)]
    sweep = [counts for part, counts in row.live.items() if part.isdecimal()]
    swept = row.entries_done + sum(done for done, _ in sweep)
    tokens = row.forward_tokens + sum(count for _, count in row.live.values())
    rate = tokens / row.busy_seconds if row.busy_seconds > 0 else None
    if row.status in (ScanStatus.confirming, ScanStatus.aggregating) and row.confirm_total is not None:
        done = confirm_done if row.status is ScanStatus.confirming else row.confirm_total
        eta = _eta(confirm_tokens, done, row.confirm_total, rate)
        return Progress(stage=row.status, done=done, total=row.confirm_total, tokens_per_second=rate, eta_seconds=eta)
    if row.status is ScanStatus.searching:
        done, _ = row.live.get("search", (0, 0))
        began, last = row.reached[ScanStatus.searching], row.last_token_at
        eta = (row.search_total - done) * (last - began) / done if row.search_total and done and last else None
        return Progress(stage=row.status, done=done, total=row.search_total, tokens_per_second=rate, eta_seconds=eta)
    if row.status is ScanStatus.contrasting:
        done = row.contrast_done + sum(count for count, _ in contrasting)
        began, last = row.reached[ScanStatus.contrasting], row.last_token_at
        seconds = last - began if last is not None else 0.0
        eta = (row.entries_total - done) * seconds / done if row.entries_total and done and seconds > 0 else None
        return Progress(stage=row.status, done=done, total=row.entries_total, tokens_per_second=rate, eta_seconds=eta)
    if row.status.final and not swept and row.contrast_done:  # of the depth standard
        return Progress(stage=row.status, done=row.contrast_done, total=row.entries_total, tokens_per_second=rate)
    if row.status.final and not swept and row.search_total is not None:  # of the depth quick
        return Progress(stage=row.status, done=row.search_total, total=row.search_total, tokens_per_second=rate)
    sweeping = row.status is ScanStatus.sweeping
    eta = _eta(tokens, swept, row.entries_total, rate) if sweeping else None
    return Progress(stage=row.status, done=swept, total=row.entries_total, tokens_per_second=rate, eta_seconds=eta)


def _eta(tokens: int, done: int, total: int | None, rate: float | None) -> float | None:
    """Seconds left, if each remaining entry takes as many tokens as those that are done."""
    if not rate or not done or total is None:
        return None
    return (total - done) * (tokens / done) / rate


def findings_view(store: Store, row: ScanRow, order: Order | None) -> list[Finding]:
    """The findings so far, in `order` or the default one: confirmed findings, before that those of the sweep."""
    found = _reported(store, row, order)
    if found is not None:
        return found
    so_far = _so_far(store, row, order)
    # The scan may have ended meanwhile: then its parts are deleted and its report is there.
    found = _reported(store, row, order)
    return so_far if found is None else found


def _reported(store: Store, row: ScanRow, order: Order | None) -> list[Finding] | None:
    report = store.report(row.id)
    if report is None:
        return None
    return ranked(report.findings, order or default_order(with_reference=report.scan.reference is not None))


def _so_far(store: Store, row: ScanRow, order: Order | None) -> list[Finding]:
    plan = store.plan(row.id)
    if plan is None:
        return []
    confirmed = store.work.confirmed(row.id)
    if confirmed is not None:
        chosen = order or default_order(with_reference=plan.reference is not None)
        return findings_of(confirmed, plan, store.work.contrast(row.id), chosen)
    texts = [*store.work.searched(row.id).texts, *store.work.swept(row.id)[: 10 * plan.settings.keep]]
    found = [swept_finding(item, plan.context_names) for item in texts]
    return ranked(found, order or Order.probability)
