"""The routes under /v1/webhooks/{id}/deliveries: what was sent to an endpoint, what waits, what was given up."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.webhooks import Delivery, DeliveryPage, DeliveryStatus
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import Caller, MayHook
from tokenforce_service.http.idempotency import NewId
from tokenforce_service.http.moments import moment
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import Page
from tokenforce_service.refusals import Refusal
from tokenforce_service.webhooks.delivery_store import DeliveryStore, StoredDelivery
from tokenforce_service.webhooks.emission import delivery_of
from tokenforce_service.webhooks.endpoint_routes import known_endpoint
from tokenforce_service.webhooks.endpoint_store import Endpoint
from tokenforce_service.webhooks.payloads import event_for_test

router = APIRouter(prefix="/v1/webhooks/{webhook_id}", tags=["webhooks"])
EXAMPLE_DELIVERY: dict[str, Any] = {
    "id": "evt_0b6f2a9c4d1e8f7a5c3b2d1e",
    "webhook_id": "wh_5f0c2a1be9d04c77",
    "type": "scan.succeeded",
    "status": "pending",
    "created_at": "2026-11-24T08:05:00Z",
    "next_attempt_at": "2026-11-24T08:05:07Z",
    "attempts": 1,
    "log": [{"at": "2026-11-24T08:05:00Z", "seconds": 0.112, "status_code": 502, "excerpt": "Bad gateway"}],
    "payload": {
        "type": "scan.succeeded",
        "timestamp": "2026-11-24T08:04:59.813000+00:00",
        "data": {
            "scan_id": "scan_5f0c2a1be9d04c77",
            "status": "succeeded",
            "model": "/models/upload-17",
            "verdict": "hidden_text",
            "licences": [],
            "links": {
                "self": "/v1/scans/scan_5f0c2a1be9d04c77",
                "findings": "/v1/scans/scan_5f0c2a1be9d04c77/findings",
                "report": "/v1/scans/scan_5f0c2a1be9d04c77/report",
            },
        },
    },
}

_QUEUED = {202: answer_of(EXAMPLE_DELIVERY), **problems(400, 404, 409, 422, 503)}


class PageOfLog(Page):
    status: DeliveryStatus | None = Field(default=None, description="Deliveries in this state.")


def delivery_view(webhook_id: str, stored: StoredDelivery, *, payload: bool = False) -> Delivery:
    """`payload`: with what is sent."""
    return Delivery(
        id=stored.event_id,
        webhook_id=webhook_id,
        type=stored.type,
        status=stored.status,
        created_at=moment(stored.created_at),
        next_attempt_at=moment(stored.next_at) if stored.next_at is not None else None,
        attempts=stored.attempts,
        log=stored.log,
        payload=json.loads(stored.body) if payload else None,
    )


def _deliveries(request: Request) -> DeliveryStore:
    return DeliveryStore(cast(Store, request.app.state.store).connection)


@router.post("/test", status_code=202, response_model=Delivery, responses=_QUEUED, summary="Send a test event")
def test(webhook_id: str, caller: MayHook, new_id: NewId, request: Request, response: Response) -> Delivery:
    """A `webhook.test` event is sent at once; the `Location` tells what came of it."""
    endpoint = _enabled(request, caller, webhook_id)
    queued = delivery_of(event_for_test(new_id, webhook_id, endpoint.owner, time.time()))
    if not _deliveries(request).add(webhook_id, queued):
        known_endpoint(request, caller, webhook_id)  # somebody may have just removed it
        queued = _known(request, webhook_id, queued.id)  # an earlier attempt at this request got so far
    return _queued(webhook_id, queued, response)


@router.get(
    "/deliveries",
    response_model=DeliveryPage,
    responses=problems(400, 404, 422, 503),
    summary="The delivery log, newest first",
)
def list_deliveries(
    webhook_id: str,
    caller: MayHook,
    request: Request,
    page: Annotated[PageOfLog, Query()],
) -> DeliveryPage:
    """`status=dead`: those that were given up. The latest 1000 that were delivered are kept, and as many dead ones."""
    known_endpoint(request, caller, webhook_id)
    found, next_cursor = page.cut(_deliveries(request).page(webhook_id, page.wanted, page.status, page.before))
    return DeliveryPage(items=[delivery_view(webhook_id, stored) for stored in found], next_cursor=next_cursor)


@router.get(
    "/deliveries/{delivery_id}",
    response_model=Delivery,
    responses={200: answer_of(EXAMPLE_DELIVERY), **problems(404, 503)},
    summary="One delivery, with its payload",
)
def get(webhook_id: str, delivery_id: str, caller: MayHook, request: Request) -> Delivery:
    known_endpoint(request, caller, webhook_id)
    return delivery_view(webhook_id, _known(request, webhook_id, delivery_id), payload=True)


@router.post(
    "/deliveries/{delivery_id}/replay",
    status_code=202,
    response_model=Delivery,
    responses=_QUEUED,
    summary="Send a delivery again",
)
def replay(
    webhook_id: str, delivery_id: str, caller: MayHook, _id: NewId, request: Request, response: Response
) -> Delivery:
    """At once, and with retries for another day. The `webhook-id` stays, so a receiver that has it may ignore it."""
    _enabled(request, caller, webhook_id)
    queued = _deliveries(request).replay(webhook_id, _known(request, webhook_id, delivery_id))
    if queued is None:
        detail = f"The delivery {delivery_id[:80]} is pending already; GET it to see when it is tried next."
        raise Refusal(ErrorCode.delivery_pending, detail)
    return _queued(webhook_id, queued, response)


def _queued(webhook_id: str, stored: StoredDelivery, response: Response) -> Delivery:
    response.headers["Location"] = f"/v1/webhooks/{webhook_id}/deliveries/{stored.event_id}"
    return delivery_view(webhook_id, stored, payload=True)


def _enabled(request: Request, caller: Caller, webhook_id: str) -> Endpoint:
    endpoint = known_endpoint(request, caller, webhook_id)
    if not endpoint.enabled:
        detail = f'The webhook {webhook_id} is disabled; enable it first (PATCH it with {{"enabled": true}}).'
        raise Refusal(ErrorCode.webhook_disabled, detail)
    return endpoint


def _known(request: Request, webhook_id: str, delivery_id: str) -> StoredDelivery:
    found = _deliveries(request).get(webhook_id, delivery_id)
    if found is None:
        detail = f"There is no delivery {delivery_id[:80]} (any more); list them with GET …/deliveries."
        raise Refusal(ErrorCode.delivery_not_found, detail)
    return found
