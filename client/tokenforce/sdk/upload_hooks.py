"""`client.hooks`: upload hooks, to which the Hub or a marketplace sends an event for every upload.

`sample_call`, `hub_event` and `signed` take the part of such a sender.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import standardwebhooks

from tokenforce.sdk.calls import Call, checked, nothing, once, page_params, path_of_one, reader
from tokenforce.sdk.errors import InvalidRequest
from tokenforce.sdk.transport import AsyncTransport, Transport
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
"""Few patterns match it. A test with it scans nothing, but proves that address and secret are right."""
SAMPLE_COMMIT = "5e1f0c2a1be9d04c77aa10f3b6d2c4e8f9a0b1c2"


def create_call(*, kind: str, policy: HookPolicy | Mapping[str, Any]) -> Call[HookSecret]:
    body = _body(HookRequest, kind=kind, policy=policy)
    return Call("POST", PATH, reader(HookSecret), json=body, headers=once())


def list_call(*, page_size: int | None) -> Call[HookPage]:
    return Call("GET", PATH, reader(HookPage), params=page_params(page_size))


def get_call(hook_id: str) -> Call[Hook]:
    return Call("GET", _path(hook_id), reader(Hook))


def change_call(hook_id: str, *, policy: HookPolicy | Mapping[str, Any]) -> Call[Hook]:
    return Call("PATCH", _path(hook_id), reader(Hook), json=_body(HookChange, policy=policy))


def remove_call(hook_id: str) -> Call[None]:
    return Call("DELETE", _path(hook_id), nothing)


def rotate_call(hook_id: str) -> Call[HookSecret]:
    return Call("POST", f"{_path(hook_id)}/rotate", reader(HookSecret), headers=once())


def sample_call(hook: Hook, secret: str, *, model: str | None = None, commit: str | None = None) -> Call[HookAnswer]:
    """A test event for this hook, as its sender would post it: signed now, sent once."""
    model, commit = model or SAMPLE_MODEL, commit or SAMPLE_COMMIT
    if hook.kind == HookKind.huggingface:
        body = _bytes(hub_event(model, commit))
        headers = {"X-Webhook-Secret": secret}
    else:
        body = _bytes({"model": model, "sha": commit, "metadata": {"sample": "true"}})
        headers = signed(body, secret)
    headers["Content-Type"] = "application/json"
    path, _, query = hook.url.partition("?")  # httpx replaces the query of an address by the params
    return Call(
        "POST", path, reader(HookAnswer), params=dict(parse_qsl(query)), headers=headers, content=body, attempts=1
    )


def hub_event(model: str, commit: str) -> dict[str, Any]:
    """The event that the Hub posts after a push to a model's main branch (its webhook format, version 3)."""
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
    """The Standard Webhooks headers for a body that is sent now.

    Raises `InvalidRequest` if `secret` is not the secret of an upload hook.
    """
    message_id, at = message_id or f"msg_{secrets.token_hex(12)}", at or datetime.now(UTC)
    try:
        signature = standardwebhooks.Webhook(secret).sign(message_id, at, body.decode())
    except Exception as error:  # for an empty secret the library raises a class that is not public
        detail = "this is not the secret of an upload hook: whsec_…"
        raise InvalidRequest(detail, status=422, code=ErrorCode.invalid_request) from error
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


def _body(form: type[HookRequest] | type[HookChange], /, **given: Any) -> dict[str, Any]:
    return checked(form, given).model_dump(mode="json", exclude_unset=True)


def _bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _path(hook_id: str) -> str:
    return path_of_one(PATH, hook_id, "hook")


class Hooks:
    """`client.hooks`; needs a key with the scope `hooks`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, *, kind: str, policy: HookPolicy | Mapping[str, Any]) -> HookSecret:
        """Register an upload hook. Only this answer shows its `secret`.

        Raises:
            InvalidRequest: the kind or the policy is wrong.
            Conflict: there are too many hooks; or an earlier attempt made this one, and its answer with the secret
                was lost. Rotate the secret.
        """
        return self._transport.send(create_call(kind=kind, policy=policy))

    def get(self, hook_id: str) -> Hook:
        """One upload hook, without its secret. Raises `NotFound`."""
        return self._transport.send(get_call(hook_id))

    def iter(self, *, page_size: int | None = None) -> Iterator[Hook]:
        """All upload hooks, newest first, fetched page by page while you iterate."""
        return self._transport.items(list_call(page_size=page_size))

    def change(self, hook_id: str, *, policy: HookPolicy | Mapping[str, Any]) -> Hook:
        """Replace the policy. Scans that have started keep the old one. Raises `NotFound`, `InvalidRequest`."""
        return self._transport.send(change_call(hook_id, policy=policy))

    def remove(self, hook_id: str) -> None:
        """Remove an upload hook. Its scans stay. Raises `NotFound`."""
        self._transport.send(remove_call(hook_id))

    def rotate(self, hook_id: str) -> HookSecret:
        """Make a new secret. The old one is valid too until `previous_secrets_until`.

        Raises `NotFound`, and `Conflict` if the answer of an earlier attempt was lost: rotate again.
        """
        return self._transport.send(rotate_call(hook_id))

    def test(self, hook_id: str, secret: str, *, model: str | None = None, commit: str | None = None) -> HookAnswer:
        """Send a signed test event to the hook. If the policy matches `model`, the service scans it.

        Raises `NotFound`, `InvalidRequest`, and `NotAuthenticated` if the secret is another hook's.
        """
        return self._transport.send(sample_call(self.get(hook_id), secret, model=model, commit=commit))


class AsyncHooks:
    """`client.hooks` with `await`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, *, kind: str, policy: HookPolicy | Mapping[str, Any]) -> HookSecret:
        """As `Hooks.create`, with `await`."""
        return await self._transport.send(create_call(kind=kind, policy=policy))

    async def get(self, hook_id: str) -> Hook:
        """As `Hooks.get`, with `await`."""
        return await self._transport.send(get_call(hook_id))

    def iter(self, *, page_size: int | None = None) -> AsyncIterator[Hook]:
        """As `Hooks.iter`, with `async for`."""
        return self._transport.items(list_call(page_size=page_size))

    async def change(self, hook_id: str, *, policy: HookPolicy | Mapping[str, Any]) -> Hook:
        """As `Hooks.change`, with `await`."""
        return await self._transport.send(change_call(hook_id, policy=policy))

    async def remove(self, hook_id: str) -> None:
        """As `Hooks.remove`, with `await`."""
        await self._transport.send(remove_call(hook_id))

    async def rotate(self, hook_id: str) -> HookSecret:
        """As `Hooks.rotate`, with `await`."""
        return await self._transport.send(rotate_call(hook_id))

    async def test(
        self, hook_id: str, secret: str, *, model: str | None = None, commit: str | None = None
    ) -> HookAnswer:
        """As `Hooks.test`, with `await`."""
        hook = await self.get(hook_id)
        return await self._transport.send(sample_call(hook, secret, model=model, commit=commit))
