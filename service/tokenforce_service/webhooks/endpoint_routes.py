"""The routes under /v1/webhooks: where callbacks are sent. The secret is shown when it is made and never again."""

from __future__ import annotations

import re
from typing import Annotated, Any, cast

from fastapi import APIRouter, Body, Request, Response
from fastapi.concurrency import run_in_threadpool

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.webhooks import Webhook, WebhookChange, WebhookPage, WebhookRequest, WebhookSecret
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import Caller, MayHook
from tokenforce_service.access.rotating_secrets import new_secret
from tokenforce_service.http.idempotency import NewSecretId
from tokenforce_service.http.moments import moment
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import InPages
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.webhooks import receiver_url
from tokenforce_service.webhooks.delivery_store import DeliveryStore
from tokenforce_service.webhooks.endpoint_store import MOST_ENDPOINTS, Endpoint, EndpointStore
from tokenforce_service.webhooks.receiver_url import Reach

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
WEBHOOK_ID = re.compile(r"wh_[0-9a-f]{16}")

EXAMPLE_REQUESTS: dict[str, Any] = {
    "all": {"summary": "Every end of a scan", "value": {"url": "https://example.com/tokenforce"}},
    "some": {
        "summary": "Some events, with a note",
        "value": {
            "url": "https://example.com/tokenforce",
            "events": ["scan.succeeded"],
            "description": "licence audit of uploads",
        },
    },
}

EXAMPLE_WEBHOOK: dict[str, Any] = {
    "id": "wh_5f0c2a1be9d04c77",
    "url": "https://example.com/tokenforce",
    "events": ["scan.succeeded", "scan.failed", "scan.cancelled"],
    "enabled": True,
    "created_at": "2026-11-24T08:00:00Z",
}

EXAMPLE_WEBHOOK_SECRET: dict[str, Any] = {
    **EXAMPLE_WEBHOOK,
    "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDpbKx1bYlBzE=",
}


def webhook_view(endpoint: Endpoint) -> Webhook:
    return Webhook(
        id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        created_at=moment(endpoint.created_at),
    )


def endpoints_of(request: Request) -> EndpointStore:
    return EndpointStore(cast(Store, request.app.state.store).connection)


def known_endpoint(request: Request, caller: Caller, webhook_id: str) -> Endpoint:
    """The endpoint, if it exists for this caller.

    Raises:
        Refusal: `webhook_not_found`.
    """
    # Anything else could name another of the store's keys.
    found = endpoints_of(request).get(webhook_id) if WEBHOOK_ID.fullmatch(webhook_id) else None
    if found is None or not caller.sees(found.owner):
        raise unknown_endpoint(webhook_id)
    return found


def unknown_endpoint(webhook_id: str) -> Refusal:
    detail = f"There is no webhook {webhook_id[:80]}; list them with GET /v1/webhooks."
    return Refusal(ErrorCode.webhook_not_found, detail)


async def _check_url(request: Request, url: str) -> None:
    settings = cast(ServiceSettings, request.app.state.settings)
    await receiver_url.check(url, Reach(settings.callback_allow, settings.callback_http))


@router.post(
    "",
    status_code=201,
    response_model=WebhookSecret,
    responses={201: answer_of(EXAMPLE_WEBHOOK_SECRET), **problems(400, 409, 413, 422, 503)},
    summary="Register an endpoint for callbacks",
)
async def create(
    body: Annotated[WebhookRequest, Body(openapi_examples=EXAMPLE_REQUESTS)],
    caller: MayHook,
    new_id: NewSecretId,
    request: Request,
    response: Response,
) -> WebhookSecret:
    """From now on the end of every scan of the key's owner is told to it. The `secret` is shown here only."""
    await _check_url(request, body.url)
    return await run_in_threadpool(_create, body, caller, f"wh_{new_id}", request, response)


def _create(
    body: WebhookRequest, caller: Caller, webhook_id: str, request: Request, response: Response
) -> WebhookSecret:
    secret = new_secret()
    if not endpoints_of(request).create(webhook_id, caller.owner, body, secret):
        detail = f"There are {MOST_ENDPOINTS} webhooks already, the most there can be; remove one first."
        raise Refusal(ErrorCode.webhook_limit, detail)
    response.headers["Location"] = f"/v1/webhooks/{webhook_id}"
    response.headers["Cache-Control"] = "no-store"
    seen = webhook_view(known_endpoint(request, caller, webhook_id))
    return WebhookSecret(**seen.model_dump(), secret=secret)


@router.get("", response_model=WebhookPage, responses=problems(400, 422, 503), summary="List endpoints, newest first")
def list_webhooks(caller: MayHook, request: Request, page: InPages) -> WebhookPage:
    """Those of the key's owner; an `admin` key sees all."""
    found, next_cursor = page.cut(endpoints_of(request).page(caller.sees_only, page.wanted, page.before))
    return WebhookPage(items=[webhook_view(endpoint) for endpoint in found], next_cursor=next_cursor)


@router.get(
    "/{webhook_id}",
    response_model=Webhook,
    responses={200: answer_of(EXAMPLE_WEBHOOK), **problems(404, 503)},
    summary="One endpoint, without its secret",
)
def get(webhook_id: str, caller: MayHook, request: Request) -> Webhook:
    return webhook_view(known_endpoint(request, caller, webhook_id))


@router.patch(
    "/{webhook_id}",
    response_model=Webhook,
    responses={200: answer_of(EXAMPLE_WEBHOOK), **problems(400, 404, 413, 422, 503)},
    summary="Change, disable or enable an endpoint",
)
async def change(webhook_id: str, body: WebhookChange, caller: MayHook, request: Request) -> Webhook:
    """What is left out stays. While an endpoint is disabled nothing is sent to it, and no event is kept for it."""
    await run_in_threadpool(known_endpoint, request, caller, webhook_id)
    if body.url is not None:
        await _check_url(request, body.url)
    return await run_in_threadpool(_change, webhook_id, body, caller, request)


def _change(webhook_id: str, body: WebhookChange, caller: Caller, request: Request) -> Webhook:
    if not endpoints_of(request).change(webhook_id, body):
        raise unknown_endpoint(webhook_id)
    return webhook_view(known_endpoint(request, caller, webhook_id))


@router.delete("/{webhook_id}", status_code=204, responses=problems(404, 503), summary="Remove an endpoint")
def remove(webhook_id: str, caller: MayHook, request: Request) -> None:
    """With its secrets, its deliveries and their log; what waits to be sent is not sent any more."""
    endpoint = known_endpoint(request, caller, webhook_id)
    connection = cast(Store, request.app.state.store).connection
    with connection.pipeline() as pipe:
        EndpointStore(connection).forget(endpoint, pipe)
        DeliveryStore(connection).forget(webhook_id, pipe)
        pipe.execute()


@router.post(
    "/{webhook_id}/rotate",
    response_model=WebhookSecret,
    responses={200: answer_of(EXAMPLE_WEBHOOK_SECRET), **problems(400, 404, 409, 422, 503)},
    summary="A new secret",
)
def rotate(webhook_id: str, caller: MayHook, _id: NewSecretId, request: Request, response: Response) -> WebhookSecret:
    """Callbacks are signed with the new secret and, until `previous_secrets_until`, with those before it as well."""
    seen, secret = webhook_view(known_endpoint(request, caller, webhook_id)), new_secret()
    until = endpoints_of(request).rotate(webhook_id, secret)
    if until is None:
        raise unknown_endpoint(webhook_id)
    response.headers["Location"] = f"/v1/webhooks/{webhook_id}"
    response.headers["Cache-Control"] = "no-store"
    return WebhookSecret(**seen.model_dump(), secret=secret, previous_secrets_until=moment(until))
