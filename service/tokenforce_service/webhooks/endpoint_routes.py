"""The routes under /v1/webhooks: endpoints, to which webhooks are sent. A secret is shown only when it is created."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from fastapi.concurrency import run_in_threadpool

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.webhooks import Webhook, WebhookChange, WebhookPage, WebhookRequest, WebhookSecret
from tokenforce_service.access.callers import MayHook
from tokenforce_service.access.owned import Owned
from tokenforce_service.access.registrations import MOST_OF_ONE_OWNER
from tokenforce_service.access.rotating_secrets import new_secret
from tokenforce_service.http.dependencies import TheSettings, TheStore
from tokenforce_service.http.idempotency import NewSecretId, shown_once
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import InPages
from tokenforce_service.moments import moment
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.webhooks import receiver_url
from tokenforce_service.webhooks.delivery_store import TheDeliveries
from tokenforce_service.webhooks.endpoint_store import Endpoint, TheEndpoints
from tokenforce_service.webhooks.receiver_url import Reach

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])
ENDPOINTS: Owned[Endpoint] = Owned(
    "webhook", "/v1/webhooks", re.compile(r"wh_[0-9a-f]{16}"), ErrorCode.webhook_not_found, attrgetter("owner")
)

EXAMPLE_REQUESTS: dict[str, Any] = {
    "all": {"summary": "The end of every scan", "value": {"url": "https://example.com/tokenforce"}},
    "some": {
        "summary": "Some events, with a description",
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
    """An endpoint without its secret."""
    return Webhook(
        id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        created_at=moment(endpoint.created_at),
    )


async def _check_url(url: str, settings: ServiceSettings) -> None:
    await receiver_url.check(url, Reach(settings.webhook_allow, settings.webhook_http))


@router.post(
    "",
    status_code=201,
    response_model=WebhookSecret,
    responses={201: answer_of(EXAMPLE_WEBHOOK_SECRET), **problems(400, 409, 413, 422, 503)},
    summary="Register an endpoint",
)
async def create(
    body: Annotated[WebhookRequest, Body(openapi_examples=EXAMPLE_REQUESTS)],
    caller: MayHook,
    new_id: NewSecretId,
    endpoints: TheEndpoints,
    settings: TheSettings,
    response: Response,
) -> WebhookSecret:
    """Registers an endpoint that receives an event whenever one of your owner's scans ends.

    No other answer shows the `secret`.
    """
    await _check_url(body.url, settings)
    webhook_id, secret = f"wh_{new_id}", new_secret()

    def stored() -> Endpoint:
        if not endpoints.create(webhook_id, caller.owner, body, secret):
            detail = f"You have {MOST_OF_ONE_OWNER} webhooks, which is the limit; remove one first."
            raise Refusal(ErrorCode.webhook_limit, detail)
        return ENDPOINTS.known(caller, webhook_id, endpoints.get)

    endpoint = await run_in_threadpool(stored)
    shown_once(response, f"/v1/webhooks/{webhook_id}")
    return WebhookSecret(**webhook_view(endpoint).model_dump(), secret=secret)


@router.get("", response_model=WebhookPage, responses=problems(400, 422, 503), summary="List endpoints, newest first")
def list_webhooks(caller: MayHook, endpoints: TheEndpoints, page: InPages) -> WebhookPage:
    """Lists the endpoints of your key's owner; an `admin` key sees all endpoints."""
    found, next_cursor = page.cut(endpoints.page(caller.sees_only, page.wanted, page.before))
    return WebhookPage(items=[webhook_view(endpoint) for endpoint in found], next_cursor=next_cursor)


@router.get(
    "/{webhook_id}",
    response_model=Webhook,
    responses={200: answer_of(EXAMPLE_WEBHOOK), **problems(404, 503)},
    summary="Get an endpoint, without its secret",
)
def get(webhook_id: str, caller: MayHook, endpoints: TheEndpoints) -> Webhook:
    return webhook_view(ENDPOINTS.known(caller, webhook_id, endpoints.get))


@router.patch(
    "/{webhook_id}",
    response_model=Webhook,
    responses={200: answer_of(EXAMPLE_WEBHOOK), **problems(400, 404, 413, 422, 503)},
    summary="Change, disable or enable an endpoint",
)
async def change(
    webhook_id: str, body: WebhookChange, caller: MayHook, endpoints: TheEndpoints, settings: TheSettings
) -> Webhook:
    """Fields that you leave out stay as they are. The events of a disabled endpoint are dropped."""
    await run_in_threadpool(ENDPOINTS.known, caller, webhook_id, endpoints.get)
    if body.url is not None:
        await _check_url(body.url, settings)

    def changed() -> Endpoint:
        if not endpoints.change(webhook_id, body):
            raise ENDPOINTS.unknown(webhook_id)  # another request has just removed it
        return ENDPOINTS.known(caller, webhook_id, endpoints.get)

    return webhook_view(await run_in_threadpool(changed))


@router.delete("/{webhook_id}", status_code=204, responses=problems(404, 503), summary="Remove an endpoint")
def remove(
    webhook_id: str, caller: MayHook, store: TheStore, endpoints: TheEndpoints, deliveries: TheDeliveries
) -> None:
    """Removes it with its secrets, its deliveries and their log. Pending deliveries are dropped."""
    endpoint = ENDPOINTS.known(caller, webhook_id, endpoints.get)
    with store.connection.pipeline() as pipe:
        endpoints.forget(endpoint, pipe)
        deliveries.forget(webhook_id, pipe)
        pipe.execute()


@router.post(
    "/{webhook_id}/rotate",
    response_model=WebhookSecret,
    responses={200: answer_of(EXAMPLE_WEBHOOK_SECRET), **problems(400, 404, 409, 422, 503)},
    summary="Create a new secret for an endpoint",
)
def rotate(
    webhook_id: str, caller: MayHook, _id: NewSecretId, endpoints: TheEndpoints, response: Response
) -> WebhookSecret:
    """Webhooks are signed with the new secret and, until `previous_secrets_until`, with earlier ones as well."""
    seen, secret = webhook_view(ENDPOINTS.known(caller, webhook_id, endpoints.get)), new_secret()
    until = endpoints.rotate(webhook_id, secret)
    if until is None:
        raise ENDPOINTS.unknown(webhook_id)
    shown_once(response, f"/v1/webhooks/{webhook_id}")
    return WebhookSecret(**seen.model_dump(), secret=secret, previous_secrets_until=moment(until))
