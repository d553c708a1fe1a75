"""The routes under /v1/hooks that need a key: which hooks there are. A secret is shown when it is made only."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Body, Request, Response

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.upload_hooks import Hook, HookChange, HookKind, HookPage, HookPolicy, HookRequest, HookSecret
from tokenforce_core.scans.store import Store
from tokenforce_service.access.callers import Caller, MayHook
from tokenforce_service.access.rotating_secrets import new_secret
from tokenforce_service.http.idempotency import NewSecretId
from tokenforce_service.http.moments import moment
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import InPages
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.admission import check_request
from tokenforce_service.upload_hooks.start_scan import scan_request
from tokenforce_service.upload_hooks.store import MOST_HOOKS, HookStore, StoredHook

router = APIRouter(prefix="/v1/hooks", tags=["hooks"])
HOOK_ID = re.compile(r"hook_[0-9a-f]{16}")

_POLICY: dict[str, Any] = {"repos": ["my-org/*"], "reference": "auto", "accepted_licences": ["Apache-2.0"]}

EXAMPLE_REQUESTS: dict[str, Any] = {
    "hub": {"summary": "Pushes to the models of an organisation", "value": {"kind": "huggingface", "policy": _POLICY}},
    "upload": {
        "summary": "Any marketplace's uploads; whatever carries a registered text is blocked",
        "value": {
            "kind": "upload",
            "policy": {"repos": ["/uploads/*"], "block_on": ["hidden_text", "licence"], "review_on": ["suspicious"]},
        },
    },
}

EXAMPLE_HOOK: dict[str, Any] = {
    "id": "hook_5f0c2a1be9d04c77",
    "kind": "upload",
    "url": "/v1/hooks/upload?hook=hook_5f0c2a1be9d04c77",
    "policy": _POLICY,
    "created_at": "2026-11-24T08:00:00Z",
}

EXAMPLE_HOOK_SECRET: dict[str, Any] = {**EXAMPLE_HOOK, "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDpbKx1bYlBzE="}


def hooks_of(request: Request) -> HookStore:
    return HookStore(cast(Store, request.app.state.store).connection)


def found_hook(request: Request, hook_id: str) -> StoredHook | None:
    # Anything else could name another of the store's keys.
    return hooks_of(request).get(hook_id) if HOOK_ID.fullmatch(hook_id) else None


def unknown_hook(hook_id: str) -> Refusal:
    return Refusal(ErrorCode.hook_not_found, f"There is no hook {hook_id[:80]}; list them with GET /v1/hooks.")


def _known(request: Request, caller: Caller, hook_id: str) -> StoredHook:
    found = found_hook(request, hook_id)
    if found is None or not caller.sees(found.owner):
        raise unknown_hook(hook_id)
    return found


def hook_view(hook: StoredHook) -> Hook:
    """A hook without its secret."""
    suffix = "" if hook.kind is HookKind.huggingface else f"?hook={hook.id}"
    return Hook(
        id=hook.id,
        kind=hook.kind.value,
        url=f"/v1/hooks/{hook.kind.value}{suffix}",
        policy=hook.policy,
        created_at=datetime.fromtimestamp(hook.created_at, UTC),
    )


def _new_secret(kind: HookKind) -> str:
    return secrets.token_urlsafe(32) if kind is HookKind.huggingface else new_secret()


def _check(policy: HookPolicy) -> None:
    """What a scan would be refused for is refused now."""
    check_request(scan_request("org/name", policy))


@router.post(
    "",
    status_code=201,
    response_model=HookSecret,
    responses={201: answer_of(EXAMPLE_HOOK_SECRET), **problems(400, 409, 413, 422, 503)},
    summary="Register an upload hook",
)
def create(
    body: Annotated[HookRequest, Body(openapi_examples=EXAMPLE_REQUESTS)],
    caller: MayHook,
    new_id: NewSecretId,
    request: Request,
    response: Response,
) -> HookSecret:
    """Events that are posted to its `url` with its `secret` start scans, which belong to the key's owner."""
    _check(body.policy)
    hook_id = f"hook_{new_id}"
    secret = _new_secret(body.kind)
    if not hooks_of(request).create(hook_id, caller.owner, caller.key_id, body.kind, body.policy, secret):
        detail = f"There are {MOST_HOOKS} hooks already, the most there can be; remove one first."
        raise Refusal(ErrorCode.hook_limit, detail)
    response.headers["Location"] = f"/v1/hooks/{hook_id}"
    response.headers["Cache-Control"] = "no-store"
    return HookSecret(**dict(hook_view(_known(request, caller, hook_id))), secret=secret)


@router.get("", response_model=HookPage, responses=problems(400, 422, 503), summary="List upload hooks, newest first")
def list_hooks(caller: MayHook, request: Request, page: InPages) -> HookPage:
    """Those of the key's owner; an `admin` key sees all."""
    found, next_cursor = page.cut(hooks_of(request).page(caller.sees_only, page.wanted, page.before))
    return HookPage(items=[hook_view(hook) for hook in found], next_cursor=next_cursor)


@router.get(
    "/{hook_id}",
    response_model=Hook,
    responses={200: answer_of(EXAMPLE_HOOK), **problems(404, 503)},
    summary="One upload hook, without its secret",
)
def get(hook_id: str, caller: MayHook, request: Request) -> Hook:
    return hook_view(_known(request, caller, hook_id))


@router.patch(
    "/{hook_id}",
    response_model=Hook,
    responses={200: answer_of(EXAMPLE_HOOK), **problems(400, 404, 413, 422, 503)},
    summary="Another policy",
)
def change(hook_id: str, body: HookChange, caller: MayHook, request: Request) -> Hook:
    """The policy is replaced as a whole. Scans that were started keep theirs."""
    _check(body.policy)
    _known(request, caller, hook_id)
    if not hooks_of(request).change(hook_id, body.policy):
        raise unknown_hook(hook_id)  # somebody else has just removed it
    return hook_view(_known(request, caller, hook_id))


@router.delete("/{hook_id}", status_code=204, responses=problems(404, 503), summary="Remove an upload hook")
def remove(hook_id: str, caller: MayHook, request: Request) -> None:
    """Its events are refused from now on. The scans that it started go on, and stay."""
    hooks_of(request).remove(_known(request, caller, hook_id))


@router.post(
    "/{hook_id}/rotate",
    response_model=HookSecret,
    responses={200: answer_of(EXAMPLE_HOOK_SECRET), **problems(400, 404, 409, 422, 503)},
    summary="A new secret",
)
def rotate(hook_id: str, caller: MayHook, _id: NewSecretId, request: Request, response: Response) -> HookSecret:
    """Events are taken with the new secret and, until `previous_secrets_until`, with those before it as well."""
    hook = _known(request, caller, hook_id)
    secret = _new_secret(hook.kind)
    until = hooks_of(request).rotate(hook, secret)
    if until is None:
        raise unknown_hook(hook_id)
    response.headers["Location"] = f"/v1/hooks/{hook_id}"
    response.headers["Cache-Control"] = "no-store"
    return HookSecret(**dict(hook_view(hook)), secret=secret, previous_secrets_until=moment(until))
