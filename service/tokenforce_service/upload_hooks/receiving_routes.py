"""The two addresses to which senders post events of uploads. A secret or a signature takes the place of a key.

The sender gets a quick answer: 202 with the id of the scan, or 200 if there is nothing to scan. After 429 and 503 the
sender should send the event again later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from tokenforce.sdk.upload_hooks import SAMPLE_COMMIT, hub_event
from tokenforce.wire.keys import KeyLimits
from tokenforce.wire.problems import ErrorCode, message_of
from tokenforce.wire.upload_hooks import HookAction, HookAnswer, HookKind, UploadEvent
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import KeyRing, TheKeys
from tokenforce_service.access.rate_limits import RateLimits, TheRateLimits
from tokenforce_service.http.dependencies import TheSettings, TheStore
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.upload_hooks.hub_event import HubEvent
from tokenforce_service.upload_hooks.routes import HOOKS
from tokenforce_service.upload_hooks.signed_event import message_id_of, upload_of
from tokenforce_service.upload_hooks.start_scan import Upload, ignored, start
from tokenforce_service.upload_hooks.store import HookStore, StoredHook, TheHooks

router = APIRouter(prefix="/v1/hooks", tags=["hooks"])
HUB_SECRET = "X-Webhook-Secret"
_HUB_SCHEMA = {"type": "object", "title": "HubEvent"}  # the Hub adds fields as it likes
_UPLOAD_SCHEMA = UploadEvent.model_json_schema()
E = TypeVar("E", bound=BaseModel)

EXAMPLE_HUB_EVENT: dict[str, Any] = hub_event("my-org/my-model", SAMPLE_COMMIT)

EXAMPLE_UPLOAD_EVENT: dict[str, Any] = {"model": "/uploads/17", "sha": SAMPLE_COMMIT, "metadata": {"ticket": "17"}}

EXAMPLE_ANSWER: dict[str, Any] = {
    "hook_id": "hook_5f0c2a1be9d04c77",
    "action": "started",
    "reason": "Scanning /uploads/17.",
    "scan_id": "scan_5f0c2a1be9d04c77",
    "links": {"scan": "/v1/scans/scan_5f0c2a1be9d04c77", "audit": "/v1/scans/scan_5f0c2a1be9d04c77/audit"},
}

EXAMPLE_IGNORED: dict[str, Any] = {
    "hook_id": "hook_5f0c2a1be9d04c77",
    "action": "ignored",
    "reason": "Not scanned: no pattern of the policy matches other-org/model.",
    "links": {},
}


def _documented(schema: dict[str, Any], example: dict[str, Any], *refusals: int) -> dict[str, Any]:
    """Arguments of a route that reads its body as bytes."""
    return {
        "status_code": 202,
        "response_model": HookAnswer,
        "responses": {
            202: {"description": "A scan was started, or this upload has one already", **answer_of(EXAMPLE_ANSWER)},
            200: {"description": "There is nothing to scan", "model": HookAnswer, **answer_of(EXAMPLE_IGNORED)},
            **problems(400, 401, 403, 413, 422, 429, 503, *refusals),
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema, "example": example}},
            }
        },
    }


@dataclass(frozen=True)
class _Receiver:
    """What it takes to answer an event."""

    hooks: HookStore
    keys: KeyRing
    rate_limits: RateLimits
    store: Store
    settings: ServiceSettings

    async def charge(self, request: Request, hook: StoredHook) -> KeyLimits:
        """Count the event as a request of the key that registered the hook. Returns the limits of this key.

        Raises:
            Refusal: `hook_key_ended`: who revokes a leaked key also ends what was registered with it. `rate_limited`.
        """
        key = await self.keys.living(hook.key_id)
        if key is None:
            detail = (
                f"The key {hook.key_id}, which registered this hook, was revoked or has expired; register the hook "
                "with another key."
            )
            raise Refusal(ErrorCode.hook_key_ended, detail)
        await self.rate_limits.charge_key(request, hook.key_id, key.limits)
        return key.limits

    def take(self, hook: StoredHook, limits: KeyLimits, found: Upload | str) -> JSONResponse:
        """Start a scan of the upload, or answer why there is nothing to scan."""
        if isinstance(found, str):
            answer = ignored(hook, found)
        else:
            answer = start(hook, limits, found, self.settings, self.store)
        status = 200 if answer.action is HookAction.ignored else 202
        return JSONResponse(answer.model_dump(mode="json", exclude_none=True), status)


async def _receiver(
    hooks: TheHooks, keys: TheKeys, rate_limits: TheRateLimits, store: TheStore, settings: TheSettings
) -> _Receiver:
    return _Receiver(hooks, keys, rate_limits, store, settings)


_TheReceiver = Annotated[_Receiver, Depends(_receiver)]


@router.post(
    "/huggingface",
    **_documented(_HUB_SCHEMA, EXAMPLE_HUB_EVENT),
    summary="Receive a webhook of the Hugging Face Hub",
)
async def huggingface(
    request: Request,
    receiver: _TheReceiver,
    _secret: Annotated[str | None, Header(alias=HUB_SECRET, description="The secret of the hook.")] = None,
) -> JSONResponse:
    """Scans what was pushed to the main branch of a model. The secret identifies the hook."""
    hook = await run_in_threadpool(_hub_hook, receiver.hooks, request.headers.getlist(HUB_SECRET))
    limits = await receiver.charge(request, hook)
    body = await request.body()
    return await run_in_threadpool(lambda: receiver.take(hook, limits, _parsed(HubEvent, body).upload()))


def _hub_hook(hooks: HookStore, secrets: list[str]) -> StoredHook:
    hook = hooks.of_secret(secrets[0]) if len(secrets) == 1 and secrets[0] else None
    if hook is None:
        detail = f"No hook has this secret; send the secret that you got at registration in {HUB_SECRET}."
        raise Refusal(ErrorCode.hook_secret_unknown, detail, headers={"WWW-Authenticate": HUB_SECRET})
    return hook


@router.post(
    "/upload",
    **_documented(_UPLOAD_SCHEMA, EXAMPLE_UPLOAD_EVENT, 404, 409),
    summary="Receive a signed event of an upload",
)
async def upload(
    request: Request,
    receiver: _TheReceiver,
    hook: Annotated[str, Query(max_length=100, description="The id of the hook, as in its `url`.")],
    _id: Annotated[str | None, Header(alias="webhook-id")] = None,
    _timestamp: Annotated[str | None, Header(alias="webhook-timestamp")] = None,
    _signature: Annotated[str | None, Header(alias="webhook-signature")] = None,
) -> JSONResponse:
    """Scans the model that the event names. Sign the event with the hook's secret, as Standard Webhooks describes."""
    body = await request.body()
    known = await run_in_threadpool(_upload_hook, receiver.hooks, hook)
    secrets = await run_in_threadpool(receiver.hooks.secrets, known)
    message_id = message_id_of(request.headers, body, secrets)
    limits = await receiver.charge(request, known)
    return await run_in_threadpool(_take_signed, receiver, known, limits, message_id, body)


def _upload_hook(hooks: HookStore, hook_id: str) -> StoredHook:
    hook = HOOKS.read(hook_id, hooks.get)
    if hook is None or hook.kind is not HookKind.upload:
        raise HOOKS.unknown(hook_id)
    return hook


def _take_signed(
    receiver: _Receiver, hook: StoredHook, limits: KeyLimits, message_id: str, body: bytes
) -> JSONResponse:
    event = _parsed(UploadEvent, body)
    if not receiver.hooks.first_body(hook.id, message_id, body):
        detail = "An earlier message with this webhook-id had another body; give each message an id of its own."
        raise Refusal(ErrorCode.hook_message_reused, detail)
    return receiver.take(hook, limits, upload_of(event, message_id))


def _parsed(kind: type[E], body: bytes) -> E:
    """The event in a body whose sender is known.

    Raises:
        Refusal: `invalid_request`; sending the event again will not help.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            detail = "The body is not valid JSON; send one JSON object."
            raise Refusal(ErrorCode.invalid_request, detail, status=400) from error
        where = "/".join(str(part) for part in first["loc"]) or "body"
        detail = f"The body is not an event for this kind of hook: {where}: {message_of(first)}."
        raise Refusal(ErrorCode.invalid_request, detail) from error
