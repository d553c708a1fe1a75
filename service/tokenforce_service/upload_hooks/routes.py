"""The routes under /v1/hooks that need a key: registering upload hooks. A secret is shown only when it is created."""

from __future__ import annotations

import re
import secrets
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.upload_hooks import Hook, HookChange, HookKind, HookPage, HookPolicy, HookRequest, HookSecret
from tokenforce_service.access.callers import MayHook
from tokenforce_service.access.owned import Owned
from tokenforce_service.access.registrations import MOST_OF_ONE_OWNER
from tokenforce_service.access.rotating_secrets import new_secret
from tokenforce_service.http.idempotency import NewSecretId, shown_once
from tokenforce_service.http.openapi import answer_of, problems
from tokenforce_service.http.pages import InPages
from tokenforce_service.moments import moment
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.admission import check_request
from tokenforce_service.upload_hooks.start_scan import scan_request
from tokenforce_service.upload_hooks.store import StoredHook, TheHooks

router = APIRouter(prefix="/v1/hooks", tags=["hooks"])
HOOKS: Owned[StoredHook] = Owned(
    "upload hook", "/v1/hooks", re.compile(r"hook_[0-9a-f]{16}"), ErrorCode.hook_not_found, attrgetter("owner")
)

_POLICY: dict[str, Any] = {"repos": ["my-org/*"], "reference": "auto", "accepted_licences": ["Apache-2.0"]}

EXAMPLE_REQUESTS: dict[str, Any] = {
    "hub": {"summary": "Pushes to the models of an organisation", "value": {"kind": "huggingface", "policy": _POLICY}},
    "upload": {
        "summary": "Uploads to any marketplace; block models that carry a registered text",
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


def hook_view(hook: StoredHook) -> Hook:
    """A hook without its secret."""
    suffix = "" if hook.kind is HookKind.huggingface else f"?hook={hook.id}"
    return Hook(
        id=hook.id,
        kind=hook.kind.value,
        url=f"/v1/hooks/{hook.kind.value}{suffix}",
        policy=hook.policy,
        created_at=moment(hook.created_at),
    )


def _new_secret(kind: HookKind) -> str:
    return secrets.token_urlsafe(32) if kind is HookKind.huggingface else new_secret()


def _check(policy: HookPolicy) -> None:
    """Refuse now what would be refused for each scan."""
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
    hooks: TheHooks,
    response: Response,
) -> HookSecret:
    """Events that are posted to its `url` with its `secret` start scans. The scans belong to the owner of your key.

    No other answer shows the secret.
    """
    _check(body.policy)
    hook_id = f"hook_{new_id}"
    secret = _new_secret(body.kind)
    if not hooks.create(hook_id, caller.owner, caller.key_id, body.kind, body.policy, secret):
        detail = f"You have {MOST_OF_ONE_OWNER} upload hooks, which is the limit; remove one first."
        raise Refusal(ErrorCode.hook_limit, detail)
    shown_once(response, f"/v1/hooks/{hook_id}")
    return HookSecret(**dict(hook_view(HOOKS.known(caller, hook_id, hooks.get))), secret=secret)


@router.get("", response_model=HookPage, responses=problems(400, 422, 503), summary="List upload hooks, newest first")
def list_hooks(caller: MayHook, hooks: TheHooks, page: InPages) -> HookPage:
    """Lists the hooks of your key's owner; an `admin` key sees all hooks."""
    found, next_cursor = page.cut(hooks.page(caller.sees_only, page.wanted, page.before))
    return HookPage(items=[hook_view(hook) for hook in found], next_cursor=next_cursor)


@router.get(
    "/{hook_id}",
    response_model=Hook,
    responses={200: answer_of(EXAMPLE_HOOK), **problems(404, 503)},
    summary="Get an upload hook, without its secret",
)
def get(hook_id: str, caller: MayHook, hooks: TheHooks) -> Hook:
    return hook_view(HOOKS.known(caller, hook_id, hooks.get))


@router.patch(
    "/{hook_id}",
    response_model=Hook,
    responses={200: answer_of(EXAMPLE_HOOK), **problems(400, 404, 413, 422, 503)},
    summary="Replace the policy of an upload hook",
)
def change(hook_id: str, body: HookChange, caller: MayHook, hooks: TheHooks) -> Hook:
    """Replaces the whole policy. Scans that have started keep the old one."""
    _check(body.policy)
    HOOKS.known(caller, hook_id, hooks.get)
    if not hooks.change(hook_id, body.policy):
        raise HOOKS.unknown(hook_id)  # another request has just removed it
    return hook_view(HOOKS.known(caller, hook_id, hooks.get))


@router.delete("/{hook_id}", status_code=204, responses=problems(404, 503), summary="Remove an upload hook")
def remove(hook_id: str, caller: MayHook, hooks: TheHooks) -> None:
    """Its events are refused from now on. Scans that it started go on, and their reports stay."""
    hooks.remove(HOOKS.known(caller, hook_id, hooks.get))


@router.post(
    "/{hook_id}/rotate",
    response_model=HookSecret,
    responses={200: answer_of(EXAMPLE_HOOK_SECRET), **problems(400, 404, 409, 422, 503)},
    summary="Create a new secret for an upload hook",
)
def rotate(hook_id: str, caller: MayHook, _id: NewSecretId, hooks: TheHooks, response: Response) -> HookSecret:
    """Events are accepted with the new secret and, until `previous_secrets_until`, with earlier ones as well."""
    hook = HOOKS.known(caller, hook_id, hooks.get)
    secret = _new_secret(hook.kind)
    until = hooks.rotate(hook, secret)
    if until is None:
        raise HOOKS.unknown(hook_id)
    shown_once(response, f"/v1/hooks/{hook_id}")
    return HookSecret(**dict(hook_view(hook)), secret=secret, previous_secrets_until=moment(until))
