"""What both clients ask about upload hooks, and how they read the answers; no I/O, as in `flows`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import standardwebhooks
from pydantic import ValidationError

from tokenforce.sdk import calls
from tokenforce.sdk.calls import Call
from tokenforce.sdk.errors import InvalidRequest
from tokenforce.wire.audits import AuditAnswer
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.upload_hooks import (
    Hook,
    HookAnswer,
    HookChange,
    HookKind,
    HookPage,
    HookPolicy,
    HookRequest,
    HookSecret,
)

PATH = "/v1/hooks"
SAMPLE_MODEL = "tokenforce-sample/upload"
"""No pattern but a wide one matches it: a test that scans nothing still proves address and secret."""
SAMPLE_COMMIT = "5e1f0c2a1be9d04c77aa10f3b6d2c4e8f9a0b1c2"


def create(*, kind: str, policy: HookPolicy | Mapping[str, Any]) -> Call[HookSecret]:
    """Register it. If the answer gets lost, `Conflict` says what was made; nobody knows its secret then."""
    body = _body(HookRequest, kind=kind, policy=policy)
    return Call("POST", PATH, calls.reader(HookSecret), json=body, headers=calls.once())


def list_hooks(*, page_size: int | None) -> Call[HookPage]:
    return Call("GET", PATH, calls.reader(HookPage), params=calls.page_params(page_size))


def get(hook_id: str) -> Call[Hook]:
    return Call("GET", _path(hook_id), calls.reader(Hook))


def change(hook_id: str, *, policy: HookPolicy | Mapping[str, Any]) -> Call[Hook]:
    return Call("PATCH", _path(hook_id), calls.reader(Hook), json=_body(HookChange, policy=policy))


def remove(hook_id: str) -> Call[None]:
    return Call("DELETE", _path(hook_id), calls.nothing)


def rotate(hook_id: str) -> Call[HookSecret]:
    """A new secret. If the answer gets lost, `Conflict` says that it was made; rotate again then."""
    return Call("POST", f"{_path(hook_id)}/rotate", calls.reader(HookSecret), headers=calls.once())


def audit(scan_id: str) -> Call[AuditAnswer]:
    return Call("GET", f"{calls.scan_path(scan_id)}/audit", calls.reader(AuditAnswer))


def sample(hook: Hook, secret: str, *, model: str | None = None, commit: str | None = None) -> Call[HookAnswer]:
    """A sample event for this hook, as its sender would post it: signed now, sent once."""
    model, commit = model or SAMPLE_MODEL, commit or SAMPLE_COMMIT
    if hook.kind == HookKind.huggingface:
        body = _bytes(hub_event(model, commit))
        headers = {"X-Webhook-Secret": secret}
    else:
        body = _bytes({"model": model, "sha": commit, "metadata": {"sample": "true"}})
        headers = signed(body, secret)
    reader = calls.reader(HookAnswer)
    headers["Content-Type"] = "application/json"
    path, _, query = hook.url.partition("?")  # httpx replaces the query of an address by the params
    return Call("POST", path, reader, params=dict(parse_qsl(query)), headers=headers, content=body, attempts=1)


def hub_event(model: str, commit: str) -> dict[str, Any]:
    """What the Hub posts when somebody pushes to a model's main branch (its webhook format, version 3)."""
    url = f"https://huggingface.co/{model}"
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {
            "type": "model",
            "name": model,
            "id": "621ffdc036468d709f17434d",
            "private": False,
            "url": {"web": url, "api": f"https://huggingface.co/api/models/{model}"},
            "headSha": commit,
            "tags": [],
            "owner": {"id": "628b753283ef59b5be89e937"},
        },
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": "0" * 40, "newSha": commit}],
        "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
    }


def signed(body: bytes, secret: str, *, message_id: str | None = None, at: datetime | None = None) -> dict[str, str]:
    """The headers of Standard Webhooks for a body that is sent now; raises `InvalidRequest` if it is no secret."""
    message_id, at = message_id or f"msg_{secrets.token_hex(12)}", at or datetime.now(UTC)
    try:
        signature = standardwebhooks.Webhook(secret).sign(message_id, at, body.decode())
    except Exception as error:  # the library's own class for an empty one is not public
        detail = "this is not the secret of an upload hook: whsec_…"
        raise InvalidRequest(detail, status=422, code=ErrorCode.invalid_request) from error
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


def _body(form: type[HookRequest] | type[HookChange], /, **given: Any) -> dict[str, Any]:
    """The JSON of what is given; raises `InvalidRequest` as the service would."""
    try:
        request = form.model_validate(given)
    except ValidationError as error:
        raise calls.invalid(error) from error
    return request.model_dump(mode="json", exclude_unset=True)


def _bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _path(hook_id: str) -> str:
    return calls.path_of_one(PATH, hook_id, "hook")
