"""The two addresses that senders of uploads post to. A secret or a signature takes the place of a key.

Whoever posts learns quickly what became of it: 202 with the id of the scan, 200 if there is nothing to scan. 429 and
503 mean that it should be sent again later.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from tokenforce.sdk.hook_calls import SAMPLE_COMMIT, hub_event
from tokenforce.wire.keys import KeyLimits
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.upload_hooks import HookAction, HookAnswer, HookKind, UploadEvent
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import KeyRing
from tokenforce_service.access.rate_limits import RateLimits
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.upload_hooks.hub_event import HubEvent
from tokenforce_service.upload_hooks.routes import found_hook, hooks_of, unknown_hook
from tokenforce_service.upload_hooks.signed_event import message_id_of, upload_of
from tokenforce_service.upload_hooks.start_scan import Upload, ignored, start
from tokenforce_service.upload_hooks.store import StoredHook

router = APIRouter(prefix="/v1/hooks", tags=["hooks"])
HUB_SECRET = "X-Webhook-Secret"
_HUB_SCHEMA = {"type": "object", "title": "HubEvent"}  # the rest is the Hub's business, which adds to it
_UPLOAD_SCHEMA = UploadEvent.model_json_schema()
Body = TypeVar("Body", bound=BaseModel)

EXAMPLE_HUB_EVENT: dict[str, Any] = hub_event("my-org/my-model", SAMPLE_COMMIT)

EXAMPLE_UPLOAD_EVENT: dict[str, Any] = {"model": "/uploads/17", "sha": SAMPLE_COMMIT, "metadata": {"ticket": "17"}}

EXAMPLE_ANSWER: dict[str, Any] = {
    "hook_id": "hook_5f0c2a1be9d04c77",
    "action": "started",
    "reason": "/uploads/17 is scanned.",
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
    """The arguments of a route whose body is read as bytes."""
    return {
        "status_code": 202,
        "response_model": HookAnswer,
        "responses": {
            202: {"description": "Scanned, or known", **answer_of(EXAMPLE_ANSWER)},
            200: {"description": "Nothing to scan", "model": HookAnswer, **answer_of(EXAMPLE_IGNORED)},
            **problems(400, 401, 403, 413, 422, 429, 503, *refusals),
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema, "example": example}},
            }
        },
    }


@router.post(
    "/huggingface",
    **_documented(_HUB_SCHEMA, EXAMPLE_HUB_EVENT),
    summary="A webhook of the Hugging Face Hub",
)
async def huggingface(
    request: Request,
    _secret: Annotated[str | None, Header(alias=HUB_SECRET, description="The hook's secret, as it is.")] = None,
) -> JSONResponse:
    """Scans what was pushed to the main branch of a model. The secret says which hook it is."""
    hook = await run_in_threadpool(_hub_hook, request)
    limits = await _charge(request, hook)
    body = await request.body()
    return await run_in_threadpool(_from_hub, request, hook, limits, body)


def _hub_hook(request: Request) -> StoredHook:
    given = request.headers.getlist(HUB_SECRET)
    hook = hooks_of(request).of_secret(given[0]) if len(given) == 1 and given[0] else None
    if hook is None:
        detail = f"No hook has this secret; put the one that its registration showed into {HUB_SECRET}."
        raise Refusal(ErrorCode.hook_secret_unknown, detail, headers={"WWW-Authenticate": HUB_SECRET})
    return hook


def _from_hub(request: Request, hook: StoredHook, limits: KeyLimits, body: bytes) -> JSONResponse:
    return _taken(request, hook, limits, _parsed(HubEvent, body).upload())


@router.post(
    "/upload",
    **_documented(_UPLOAD_SCHEMA, EXAMPLE_UPLOAD_EVENT, 404, 409),
    summary="An upload to any marketplace, signed",
)
async def upload(
    request: Request,
    hook: Annotated[str, Query(max_length=100, description="The hook's id, as in its `url`.")],
    _id: Annotated[str | None, Header(alias="webhook-id")] = None,
    _timestamp: Annotated[str | None, Header(alias="webhook-timestamp")] = None,
    _signature: Annotated[str | None, Header(alias="webhook-signature")] = None,
) -> JSONResponse:
    """Scans the model that a message names, which is signed by Standard Webhooks with the hook's secret."""
    body = await request.body()
    known = await run_in_threadpool(_upload_hook, request, hook)
    secrets = await run_in_threadpool(hooks_of(request).secrets, known)
    message_id = message_id_of(request.headers, body, secrets)
    limits = await _charge(request, known)
    return await run_in_threadpool(_from_sender, request, known, limits, message_id, body)


def _upload_hook(request: Request, hook_id: str) -> StoredHook:
    hook = found_hook(request, hook_id)
    if hook is None or hook.kind is not HookKind.upload:
        raise unknown_hook(hook_id)
    return hook


def _from_sender(request: Request, hook: StoredHook, limits: KeyLimits, message_id: str, body: bytes) -> JSONResponse:
    event = _parsed(UploadEvent, body)
    if not hooks_of(request).first_body(hook.id, message_id, body):
        detail = "A message of this webhook-id came with another body before; a new message needs a new id."
        raise Refusal(ErrorCode.hook_message_reused, detail)
    return _taken(request, hook, limits, upload_of(event, message_id))


async def _charge(request: Request, hook: StoredHook) -> KeyLimits:
    """Count the event as a request of the key that made the hook; returns what that key may do.

    Raises:
        Refusal: `hook_key_ended`: whoever revokes a key that leaked ends what was made with it. `rate_limited`.
    """
    key = await cast(KeyRing, request.app.state.keys).living(hook.key_id)
    if key is None:
        detail = f"The key {hook.key_id}, which made this hook, was revoked or has expired; make the hook with another."
        raise Refusal(ErrorCode.hook_key_ended, detail)
    await cast(RateLimits, request.app.state.rate_limits).charge_key(request, hook.key_id, key.limits)
    return key.limits


def _taken(request: Request, hook: StoredHook, limits: KeyLimits, found: Upload | str) -> JSONResponse:
    if isinstance(found, str):
        answer = ignored(hook, found)
    else:
        settings = cast(ServiceSettings, request.app.state.settings)
        answer = start(hook, limits, found, settings, cast(Store, request.app.state.store))
    status = 200 if answer.action is HookAction.ignored else 202
    return JSONResponse(answer.model_dump(mode="json", exclude_none=True), status)


def _parsed(kind: type[Body], body: bytes) -> Body:
    """The event in a body whose sender is known.

    Raises:
        Refusal: `invalid_request`; sending it again will not help.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            detail = "The body is not valid JSON; send one JSON object."
            raise Refusal(ErrorCode.invalid_request, detail, status=400) from error
        where = "/".join(str(part) for part in first["loc"]) or "body"
        detail = f"This is no event of this kind of hook: {where}: {first['msg']}."
        raise Refusal(ErrorCode.invalid_request, detail) from error
