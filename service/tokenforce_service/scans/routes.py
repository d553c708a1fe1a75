"""The routes under /v1/scans."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from importlib.resources import files
from typing import Annotated, Any, cast

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from tokenforce.wire.audits import AuditAnswer
from tokenforce.wire.base import Moment
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import Report
from tokenforce.wire.scans import FindingsPage, Order, Scan, ScanPage, ScanRequest, ScanStatus
from tokenforce_core.scans.row import ScanRow
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import Caller, MayRead, MayWrite
from tokenforce_service.http.idempotency import NewId
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import Page, encoded, finding_position
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.audit import audit_of
from tokenforce_service.scans.start import take_in
from tokenforce_service.scans.views import findings_view, scan_view
from tokenforce_service.settings import ServiceSettings

router = APIRouter(prefix="/v1/scans", tags=["scans"])
POLL_SECONDS = "1"
SCAN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

EXAMPLE_REQUESTS: dict[str, Any] = {
    "folder": {"summary": "A folder under a root", "value": {"model": "/models/upload-17"}},
    "hub": {
        "summary": "A pinned revision of a hub model, in one context",
        "value": {"model": "HuggingFaceTB/SmolLM2-135M-Instruct@main", "contexts": ["assistant"]},
    },
    "paper": {"summary": "The paper's arithmetic", "value": {"model": "/models/upload-17", "preset": "paper"}},
    "custom": {
        "summary": "A context of one's own",
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
    "reasons": ["1 text(s) are judged hidden_text; the report quotes them."],
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
    status: list[ScanStatus] = Field(default=[], max_length=len(ScanStatus), description="One or several of these.")
    model: str | None = Field(default=None, max_length=1024, description="Scans of exactly this `model`.")
    since: Moment | None = Field(default=None, description="Created then or later; UTC without an offset.")


class PageOfFindings(Page):
    order: Order | None = Field(
        default=None,
        description="Default: what to read first, by contrast where the scan has a reference, else by probability.",
    )


_WHY_NO_REPORT = {
    ScanStatus.failed: "it failed; see its `error`",
    ScanStatus.cancelled: "it was cancelled; read its findings, or start a new scan",
}


def _store(request: Request) -> Store:
    return cast(Store, request.app.state.store)


def row_of(request: Request, scan_id: str, caller: Caller) -> ScanRow:
    # Anything else could name another of the store's keys.
    row = _store(request).row(scan_id) if SCAN_ID.fullmatch(scan_id) else None
    if row is None or not caller.sees(row.owner):
        raise Refusal(ErrorCode.scan_not_found, f"There is no scan {scan_id[:80]}; list them with GET /v1/scans.")
    return row


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
    request: Request,
    response: Response,
) -> Scan:
    """Accepts the scan and answers at once; poll the `Location`. Local models are checked before the answer."""
    store, settings = _store(request), cast(ServiceSettings, request.app.state.settings)
    scan_id = f"scan_{new_id}"
    take_in(body, scan_id, caller, settings, store)
    response.headers["Location"] = f"/v1/scans/{scan_id}"
    response.headers["Retry-After"] = POLL_SECONDS
    return scan_view(row_of(request, scan_id, caller))


@router.get("", response_model=ScanPage, responses=problems(400, 422, 503), summary="List scans, newest first")
def list_scans(caller: MayRead, request: Request, page: Annotated[PageOfScans, Query()]) -> ScanPage:
    """The scans of the key's owner; an `admin` key sees everybody's.

    A cursor is a place in time: scans that are created or move on meanwhile shift no page.
    """
    found = _store(request).page(
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
        304: {"description": "Nothing has changed since the ETag of `If-None-Match`."},
        **problems(404, 503),
    },
    summary="Status and progress",
)
def get(scan_id: str, caller: MayRead, request: Request) -> Response:
    scan = scan_view(row_of(request, scan_id, caller))
    body = scan.model_dump_json()
    etag = f'W/"{hashlib.sha256(body.encode()).hexdigest()[:24]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if not scan.status.final:
        headers["Retry-After"] = POLL_SECONDS
    seen = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in seen or seen == ["*"]:  # RFC 9110, 13.1.2: `*` is any representation that there is
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.get(
    "/{scan_id}/findings",
    response_model=FindingsPage,
    responses=problems(400, 404, 422, 503),
    summary="Ranked findings, partial while the scan runs",
)
def findings(
    scan_id: str,
    caller: MayRead,
    request: Request,
    page: Annotated[PageOfFindings, Query()],
) -> FindingsPage:
    """They are ranked anew while the scan runs, so a cursor is a count and not a place."""
    row, order = row_of(request, scan_id, caller), page.order
    found = findings_view(_store(request), row, order)
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
    summary="The report of a finished scan",
)
def report(scan_id: str, caller: MayRead, request: Request) -> Response:
    row = row_of(request, scan_id, caller)
    document = _store(request).report(scan_id)
    if document is None:
        why = _WHY_NO_REPORT.get(row.status, "it has not finished; poll it")
        raise Refusal(ErrorCode.report_not_ready, f"The scan {scan_id} has no report: {why}.")
    return Response(document.model_dump_json(), media_type="application/json")


@router.get(
    "/{scan_id}/audit",
    response_model=AuditAnswer,
    responses={200: answer_of(EXAMPLE_AUDIT), **problems(404, 409, 503)},
    summary="What to do with the upload",
)
def audit(scan_id: str, caller: MayRead, request: Request) -> AuditAnswer:
    """Allow, review, block or could_not_scan, by the policy of the hook that started the scan, or the default one.

    409 with `Retry-After` while the scan runs. Callbacks about scans that a hook started carry the same document.
    """
    row = row_of(request, scan_id, caller)
    answer = audit_of(row, _store(request).report(scan_id))
    if answer is None:
        detail = f"The scan {scan_id} has not ended, so there is nothing to say yet; poll it."
        raise Refusal(ErrorCode.report_not_ready, detail, headers={"Retry-After": POLL_SECONDS})
    return answer


@router.delete(
    "/{scan_id}", status_code=202, response_model=Scan, responses=problems(404, 409, 503), summary="Cancel a scan"
)
def cancel(scan_id: str, caller: MayWrite, request: Request) -> JSONResponse:
    """The engine stops between two steps, within seconds, and stays warm. What was found stays readable."""
    store = _store(request)
    before = row_of(request, scan_id, caller).status
    # Cancelling a cancelled scan is no error: the first answer may have been lost on its way.
    if not store.cancel(scan_id) and before is not ScanStatus.cancelled:
        status = store.status(scan_id) or before
        detail = f"The scan {scan_id} has ended already ({status.value}); there is nothing to cancel."
        raise Refusal(ErrorCode.scan_finished, detail)
    return JSONResponse(scan_view(row_of(request, scan_id, caller)).model_dump(mode="json"), status_code=202)
