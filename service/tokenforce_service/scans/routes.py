"""The routes under /v1/scans."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from importlib.resources import files
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from tokenforce.wire.audits import AuditAnswer
from tokenforce.wire.base import Moment
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import Report
from tokenforce.wire.scans import FindingsPage, Order, Scan, ScanPage, ScanRequest, ScanStatus
from tokenforce_core.scans.row import ScanRow
from tokenforce_service.access.callers import MayRead, MayWrite
from tokenforce_service.access.owned import Owned
from tokenforce_service.http.dependencies import TheSettings, TheStore
from tokenforce_service.http.idempotency import NewId
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import Page, encoded, finding_position
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.audit import audit_of
from tokenforce_service.scans.start import start_scan
from tokenforce_service.scans.views import findings_view, scan_view

router = APIRouter(prefix="/v1/scans", tags=["scans"])
POLL_SECONDS = "1"
SCANS: Owned[ScanRow] = Owned(
    "scan", "/v1/scans", re.compile(r"[A-Za-z0-9_-]{1,64}"), ErrorCode.scan_not_found, attrgetter("owner")
)

EXAMPLE_REQUESTS: dict[str, Any] = {
    "folder": {"summary": "A folder under a root", "value": {"model": "/models/upload-17"}},
    "hub": {
        "summary": "A pinned revision of a hub model, in one context",
        "value": {"model": "HuggingFaceTB/SmolLM2-135M-Instruct@main", "contexts": ["assistant"]},
    },
    "paper": {"summary": "The paper's arithmetic", "value": {"model": "/models/upload-17", "preset": "paper"}},
    "custom": {
        "summary": "A context of your own",
        "value": {"model": "/models/upload-17", "contexts": ["bos", {"name": "story", "text": "Once upon a time"}]},
    },
}

EXAMPLE_SCAN: dict[str, Any] = {
    "id": "scan_5f0c2a1be9d04c77",
    "owner": "marketplace",
    "status": "sweeping",
    "model": "/models/upload-17",
    "request": {"model": "/models/upload-17", "preset": "standard", "contexts": ["assistant"]},
    "progress": {
        "stage": "sweeping",
        "done": 12288,
        "total": 49135,
        "tokens_per_second": 1104.2,
        "eta_seconds": 152.9,
    },
    "created_at": "2026-11-22T21:40:00Z",
    "started_at": "2026-11-22T21:40:00Z",
    "links": {"self": "/v1/scans/scan_5f0c2a1be9d04c77", "findings": "/v1/scans/scan_5f0c2a1be9d04c77/findings"},
}

EXAMPLE_REPORT: dict[str, Any] = json.loads((files(__package__) / "example_report.json").read_text("utf-8"))
"""The demo's own report, cut to its first finding."""

EXAMPLE_AUDIT: dict[str, Any] = {
    "scan_id": "scan_5f0c2a1be9d04c77",
    "model": "/uploads/17",
    "decision": "block",
    "reasons": ["The report has 1 finding with the verdict hidden_text."],
    "licences": [],
    "verdict": "hidden_text",
    "hook_id": "hook_5f0c2a1be9d04c77",
    "metadata": {"ticket": "17"},
    "links": {
        "self": "/v1/scans/scan_5f0c2a1be9d04c77/audit",
        "scan": "/v1/scans/scan_5f0c2a1be9d04c77",
        "report": "/v1/scans/scan_5f0c2a1be9d04c77/report",
    },
}


class PageOfScans(Page):
    status: list[ScanStatus] = Field(
        default=[], max_length=len(ScanStatus), description="Only scans with one of these statuses."
    )
    model: str | None = Field(default=None, max_length=1024, description="Only scans of exactly this `model`.")
    since: Moment | None = Field(
        default=None, description="Only scans created at this time or later; without an offset it is in UTC."
    )


class PageOfFindings(Page):
    order: Order | None = Field(
        default=None, description="Default: `contrast` if the scan has a reference, otherwise `probability`."
    )


_WHY_NO_REPORT = {
    ScanStatus.failed: "it failed; see its `error`",
    ScanStatus.cancelled: "it was cancelled; read its findings, or start a new scan",
}


@router.post(
    "",
    status_code=202,
    response_model=Scan,
    responses={202: answer_of(EXAMPLE_SCAN), **problems(400, 403, 409, 413, 422, 503)},
    summary="Start a scan",
)
def create(
    body: Annotated[ScanRequest, Body(openapi_examples=EXAMPLE_REQUESTS)],
    caller: MayWrite,
    new_id: NewId,
    store: TheStore,
    settings: TheSettings,
    response: Response,
) -> Scan:
    """Accepts the scan and answers at once; poll the `Location`. Local models are checked before the answer."""
    scan_id = f"scan_{new_id}"
    start_scan(body, scan_id, caller, settings, store)
    response.headers["Location"] = f"/v1/scans/{scan_id}"
    response.headers["Retry-After"] = POLL_SECONDS
    return scan_view(SCANS.known(caller, scan_id, store.row))


@router.get("", response_model=ScanPage, responses=problems(400, 422, 503), summary="List scans, newest first")
def list_scans(caller: MayRead, store: TheStore, page: Annotated[PageOfScans, Query()]) -> ScanPage:
    """Lists the scans of your key's owner; an `admin` key sees all scans.

    A cursor is a point in time, so scans that are created or change meanwhile do not shift pages.
    """
    found = store.page(
        page.wanted,
        page.before,
        owner=caller.sees_only,
        model=page.model,
        statuses=set(page.status),
        since=_seconds(page.since) if page.since else None,
    )
    rows, next_cursor = page.cut(found)
    return ScanPage(items=[scan_view(row) for row in rows], next_cursor=next_cursor)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@router.get(
    "/{scan_id}",
    response_model=Scan,
    responses={
        200: answer_of(EXAMPLE_SCAN),
        304: {"description": "Nothing has changed since the ETag in `If-None-Match`."},
        **problems(404, 503),
    },
    summary="Get the status and progress of a scan",
)
def get(scan_id: str, caller: MayRead, store: TheStore, request: Request) -> Response:
    scan = scan_view(SCANS.known(caller, scan_id, store.row))
    body = scan.model_dump_json()
    etag = f'W/"{hashlib.sha256(body.encode()).hexdigest()[:24]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if not scan.status.final:
        headers["Retry-After"] = POLL_SECONDS
    seen = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in seen or seen == ["*"]:  # RFC 9110, 13.1.2: `*` matches any representation
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.get(
    "/{scan_id}/findings",
    response_model=FindingsPage,
    responses=problems(400, 404, 422, 503),
    summary="List ranked findings, partial while the scan runs",
)
def findings(scan_id: str, caller: MayRead, store: TheStore, page: Annotated[PageOfFindings, Query()]) -> FindingsPage:
    """While the scan runs the ranks change, so a cursor is a count and pages may overlap."""
    row, order = SCANS.known(caller, scan_id, store.row), page.order
    found = findings_view(store, row, order)
    start = finding_position(page.cursor, order or "") if page.cursor else 0
    stop = start + page.limit
    return FindingsPage(
        items=found[start:stop],
        next_cursor=encoded(order.value if order else "", stop) if stop < len(found) else None,
        partial=not row.status.final,
    )


@router.get(
    "/{scan_id}/report",
    response_model=Report,
    responses={200: answer_of(EXAMPLE_REPORT), **problems(404, 409, 503)},
    summary="Get the report of a scan that succeeded",
)
def report(scan_id: str, caller: MayRead, store: TheStore) -> Response:
    row = SCANS.known(caller, scan_id, store.row)
    document = store.report(scan_id)
    if document is None:
        why = _WHY_NO_REPORT.get(row.status, "it has not ended; poll it")
        raise Refusal(ErrorCode.report_not_ready, f"The scan {scan_id} has no report: {why}.")
    return Response(document.model_dump_json(), media_type="application/json")


@router.get(
    "/{scan_id}/audit",
    response_model=AuditAnswer,
    responses={200: answer_of(EXAMPLE_AUDIT), **problems(404, 409, 503)},
    summary="Get the decision on an upload",
)
def audit(scan_id: str, caller: MayRead, store: TheStore) -> AuditAnswer:
    """Returns allow, review, block or could_not_scan, by the policy of the upload hook or, without one, the default.

    409 with `Retry-After` while the scan runs. Webhooks about scans that an upload hook started carry this document.
    """
    row = SCANS.known(caller, scan_id, store.row)
    answer = audit_of(row, store.report(scan_id))
    if answer is None:
        detail = f"The scan {scan_id} has not ended, so there is no decision yet; poll it."
        raise Refusal(ErrorCode.report_not_ready, detail, headers={"Retry-After": POLL_SECONDS})
    return answer


@router.delete(
    "/{scan_id}", status_code=202, response_model=Scan, responses=problems(404, 409, 503), summary="Cancel a scan"
)
def cancel(scan_id: str, caller: MayWrite, store: TheStore) -> JSONResponse:
    """The engine stops within seconds and stays loaded. Findings so far stay readable."""
    before = SCANS.known(caller, scan_id, store.row).status
    # Cancelling a cancelled scan succeeds: the caller may not have received the first answer.
    if not store.cancel(scan_id) and before is not ScanStatus.cancelled:
        status = store.status(scan_id) or before
        detail = f"The scan {scan_id} has already ended ({status.value}); there is nothing to cancel."
        raise Refusal(ErrorCode.scan_finished, detail)
    after = scan_view(SCANS.known(caller, scan_id, store.row))
    return JSONResponse(after.model_dump(mode="json"), status_code=202)
