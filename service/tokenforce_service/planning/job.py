"""The control job that plans a scan. Idempotent."""

from __future__ import annotations

from rq import get_current_job

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanStatus
from tokenforce_core.fingerprints.store import FingerprintStore
from tokenforce_core.scans.reuse import ReusableReports
from tokenforce_core.scans.stages import start_first_stage
from tokenforce_service.models.fit import check_target
from tokenforce_service.models.open import open_target
from tokenforce_service.models.tokenizer import Tokenizers
from tokenforce_service.planning.plan import make_plan
from tokenforce_service.planning.trigger_prompts import with_questions
from tokenforce_service.refusals import Refusal
from tokenforce_service.reports.job import finish_by_reuse
from tokenforce_service.settings import ServiceSettings, open_store

TRANSIENT_ERRORS = (ErrorCode.hub_unreachable, ErrorCode.storage_full)
"""Errors that may be over at the next attempt."""


def plan(scan_id: str) -> None:
    """Open and check the model, split its vocabulary into shards, and queue them.

    Raises:
        Refusal: so that RQ runs the job again, after other waiting jobs.
    """
    settings = ServiceSettings()
    store = open_store(settings)
    if not store.advance(scan_id, ScanStatus.planning, ScanStatus.queued, ScanStatus.planning):
        return  # it was cancelled, or is already planned
    row = store.row(scan_id)
    if row is None:
        return
    request = row.request
    try:
        target = open_target(request, settings, reach_hub=True)
        check_target(request, target, store)
        registry = FingerprintStore(store.connection, settings.retention_seconds)
        fingerprints = registry.all()
        tokenizers = Tokenizers()
        made = make_plan(request, target, settings, tokenizers)
        scan_plan, questions = with_questions(made, target, tokenizers, fingerprints)
        reports = ReusableReports(store.connection, settings.retention_seconds)
        key = reports.key(row.owner, scan_plan, (fingerprint.id for fingerprint in fingerprints))
        if not request.force and finish_by_reuse(store, row, scan_plan, reports.find(key)):
            return
        reports.note(scan_id, key)
        registry.put_questions(scan_id, questions)
        start_first_stage(store, scan_id, scan_plan)
    except Refusal as refusal:
        job = get_current_job()
        if refusal.code in TRANSIENT_ERRORS and refusal.status >= 500 and job is not None and job.retries_left:
            raise
        store.fail(scan_id, refusal.problem(instance=f"/v1/scans/{scan_id}"))
