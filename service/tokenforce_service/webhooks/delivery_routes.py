"""The routes under /v1/webhooks/{id}/deliveries: what was sent to an endpoint, what waits, and what was given up."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.webhooks import Delivery, DeliveryPage, DeliveryStatus
from tokenforce_service.access.callers import Caller, MayHook
from tokenforce_service.http.idempotency import NewId
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import Page
from tokenforce_service.moments import moment
from tokenforce_service.refusals import Refusal
from tokenforce_service.webhooks.delivery_store import DeliveryStore, StoredDelivery, TheDeliveries
from tokenforce_service.webhooks.emission import delivery_of
from tokenforce_service.webhooks.endpoint_routes import ENDPOINTS
from tokenforce_service.webhooks.endpoint_store import Endpoint, EndpointStore, TheEndpoints
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
    status: DeliveryStatus | None = Field(default=None, description="Only deliveries with this status.")


def delivery_view(webhook_id: str, stored: StoredDelivery, *, payload: bool = False) -> Delivery:
    """`payload`: include what is sent."""
    return Delivery(
        id=stored.event_id,
        webhook_id=webhook_id,
        type=stored.type,
        status=stored.status,
        created_at=moment(stored.created_at),
        next_attempt_at=moment(stored.next_at),
        attempts=stored.attempts,
        log=stored.log,
        payload=json.loads(stored.body) if payload else None,
    )


@router.post("/test", status_code=202, response_model=Delivery, responses=_QUEUED, summary="Send a test event")
def test(
    webhook_id: str,
    caller: MayHook,
    new_id: NewId,
    endpoints: TheEndpoints,
    deliveries: TheDeliveries,
    response: Response,
) -> Delivery:
    """Sends a `webhook.test` event at once. The `Location` shows its outcome."""
    endpoint = _enabled(endpoints, caller, webhook_id)
    queued = delivery_of(event_for_test(new_id, webhook_id, endpoint.owner, time.time()))
    if not deliveries.add(webhook_id, queued):
        ENDPOINTS.known(caller, webhook_id, endpoints.get)  # another request may have just removed it
        queued = _known(deliveries, webhook_id, queued.id)  # an earlier attempt at this request queued it
    return _queued(webhook_id, queued, response)


@router.get(
    "/deliveries",
    response_model=DeliveryPage,
    responses=problems(400, 404, 422, 503),
    summary="List the deliveries to an endpoint, newest first",
)
def list_deliveries(
    webhook_id: str,
    caller: MayHook,
    endpoints: TheEndpoints,
    deliveries: TheDeliveries,
    page: Annotated[PageOfLog, Query()],
) -> DeliveryPage:
    """`status=dead` lists deliveries that were given up. The log keeps the latest 1000 delivered and 1000 dead ones."""
    ENDPOINTS.known(caller, webhook_id, endpoints.get)
    found, next_cursor = page.cut(deliveries.page(webhook_id, page.wanted, page.status, page.before))
    return DeliveryPage(items=[delivery_view(webhook_id, stored) for stored in found], next_cursor=next_cursor)


@router.get(
    "/deliveries/{delivery_id}",
    response_model=Delivery,
    responses={200: answer_of(EXAMPLE_DELIVERY), **problems(404, 503)},
    summary="Get a delivery, with its payload",
)
def get(
    webhook_id: str, delivery_id: str, caller: MayHook, endpoints: TheEndpoints, deliveries: TheDeliveries
) -> Delivery:
    ENDPOINTS.known(caller, webhook_id, endpoints.get)
    return delivery_view(webhook_id, _known(deliveries, webhook_id, delivery_id), payload=True)


@router.post(
    "/deliveries/{delivery_id}/replay",
    status_code=202,
    response_model=Delivery,
    responses=_QUEUED,
    summary="Send a delivery again",
)
def replay(
    webhook_id: str,
    delivery_id: str,
    caller: MayHook,
    _id: NewId,
    endpoints: TheEndpoints,
    deliveries: TheDeliveries,
    response: Response,
) -> Delivery:
    """Sends it at once, with retries for another day. Its `webhook-id` stays, so the receiver may ignore it."""
    _enabled(endpoints, caller, webhook_id)
    queued = deliveries.replay(webhook_id, _known(deliveries, webhook_id, delivery_id))
    if queued is None:
        detail = f"The delivery {delivery_id[:80]} is pending; GET it to see when the next attempt is."
        raise Refusal(ErrorCode.delivery_pending, detail)
    return _queued(webhook_id, queued, response)


def _queued(webhook_id: str, stored: StoredDelivery, response: Response) -> Delivery:
    response.headers["Location"] = f"/v1/webhooks/{webhook_id}/deliveries/{stored.event_id}"
    return delivery_view(webhook_id, stored, payload=True)


def _enabled(endpoints: EndpointStore, caller: Caller, webhook_id: str) -> Endpoint:
    endpoint = ENDPOINTS.known(caller, webhook_id, endpoints.get)
    if not endpoint.enabled:
        detail = f'The webhook {webhook_id} is disabled; enable it first (PATCH it with {{"enabled": true}}).'
        raise Refusal(ErrorCode.webhook_disabled, detail)
    return endpoint


def _known(deliveries: DeliveryStore, webhook_id: str, delivery_id: str) -> StoredDelivery:
    found = deliveries.get(webhook_id, delivery_id)
    if found is None:
        detail = f"There is no delivery {delivery_id[:80]} (any more); list them with GET …/deliveries."
        raise Refusal(ErrorCode.delivery_not_found, detail)
    return found
