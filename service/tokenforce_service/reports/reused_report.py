"""A scan that ends in planning, with the report of an equal one."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tokenforce.wire.report import Report
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.plan.plan import Plan
from tokenforce_core.scans.row import ScanRow
from tokenforce_core.scans.store import Store
from tokenforce_service.reports.timings import timings


def finish_by_reuse(store: Store, row: ScanRow, plan: Plan, earlier_id: str | None) -> bool:
    """End the scan `row` with the report of `earlier_id`; False if there is none (any more), or the scan has ended."""
    earlier = store.report(earlier_id) if earlier_id is not None else None
    if earlier is None:
        return False
    return store.finish(row.id, as_report_of(row, plan, earlier, time.time()), after=ScanStatus.planning)


def as_report_of(row: ScanRow, plan: Plan, earlier: Report, now: float) -> Report:
    """The earlier report under this scan's id, names and times; it says whose result it is and of when."""
    record = earlier.scan.model_copy(
        update={
            "id": row.id,
            "target": plan.target,
            "reference": plan.reference.record if plan.reference is not None else None,
            "timings_seconds": timings(row, now),
            "forward_tokens": 0,
            "created_at": datetime.fromtimestamp(row.created_at, UTC),
            "finished_at": datetime.fromtimestamp(now, UTC),
            "reused_from": earlier.scan.id,
            "measured_at": earlier.scan.finished_at,
        }
    )
    return earlier.model_copy(update={"scan": record})
