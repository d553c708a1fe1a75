"""`client.hooks` of both clients: who may tell the service of uploads. Thin shells over `hook_calls`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tokenforce.sdk import hook_calls
from tokenforce.wire.upload_hooks import Hook, HookAnswer, HookPolicy, HookSecret

if TYPE_CHECKING:
    from tokenforce.sdk.async_client import AsyncClient
    from tokenforce.sdk.client import Client


class Hooks:
    """`client.hooks`; it wants a key with the scope `hooks`.

    Every call may also raise `NotAuthenticated`, `NotPermitted`, `ConnectionFailed`, `ServiceUnavailable`,
    `ServerError` or `UnexpectedAnswer`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, *, kind: str, policy: HookPolicy | Mapping[str, Any]) -> HookSecret:
        """Register a hook; its `secret` is shown this once. Raises `InvalidRequest`, `Conflict`."""
        return self._client._send(hook_calls.create(kind=kind, policy=policy))

    def get(self, hook_id: str) -> Hook:
        """One hook, without its secret. Raises `NotFound`."""
        return self._client._send(hook_calls.get(hook_id))

    def iter(self, *, page_size: int | None = None) -> Iterator[Hook]:
        """Every hook, the newest first, fetched page by page as you iterate."""
        return self._client._items(hook_calls.list_hooks(page_size=page_size))

    def change(self, hook_id: str, *, policy: HookPolicy | Mapping[str, Any]) -> Hook:
        """Replace the policy; scans that were started keep theirs. Raises `NotFound`, `InvalidRequest`."""
        return self._client._send(hook_calls.change(hook_id, policy=policy))

    def remove(self, hook_id: str) -> None:
        """Take no more events; its scans stay. Raises `NotFound`."""
        self._client._send(hook_calls.remove(hook_id))

    def rotate(self, hook_id: str) -> HookSecret:
        """A new secret; the one before counts too until `previous_secrets_until`. Raises `NotFound`, `Conflict`."""
        return self._client._send(hook_calls.rotate(hook_id))

    def test(self, hook_id: str, secret: str, *, model: str | None = None, commit: str | None = None) -> HookAnswer:
        """Post a sample event as the hook's sender would. With a `model` that the policy matches it is scanned.

        Raises `NotFound`, `NotAuthenticated` if it is another hook's secret, `InvalidRequest`.
        """
        return self._client._send(hook_calls.sample(self.get(hook_id), secret, model=model, commit=commit))


class AsyncHooks:
    """`client.hooks` with `await`. See `Hooks` for what each call does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(self, *, kind: str, policy: HookPolicy | Mapping[str, Any]) -> HookSecret:
        """Register a hook; its `secret` is shown this once. Raises `InvalidRequest`, `Conflict`."""
        return await self._client._send(hook_calls.create(kind=kind, policy=policy))

    async def get(self, hook_id: str) -> Hook:
        """One hook, without its secret. Raises `NotFound`."""
        return await self._client._send(hook_calls.get(hook_id))

    def iter(self, *, page_size: int | None = None) -> AsyncIterator[Hook]:
        """Every hook, the newest first, fetched page by page as you iterate."""
        return self._client._items(hook_calls.list_hooks(page_size=page_size))

    async def change(self, hook_id: str, *, policy: HookPolicy | Mapping[str, Any]) -> Hook:
        """Replace the policy; scans that were started keep theirs. Raises `NotFound`, `InvalidRequest`."""
        return await self._client._send(hook_calls.change(hook_id, policy=policy))

    async def remove(self, hook_id: str) -> None:
        """Take no more events; its scans stay. Raises `NotFound`."""
        await self._client._send(hook_calls.remove(hook_id))

    async def rotate(self, hook_id: str) -> HookSecret:
        """A new secret; the one before counts too until `previous_secrets_until`. Raises `NotFound`, `Conflict`."""
        return await self._client._send(hook_calls.rotate(hook_id))

    async def test(
        self, hook_id: str, secret: str, *, model: str | None = None, commit: str | None = None
    ) -> HookAnswer:
        """Post a sample event as the hook's sender would. With a `model` that the policy matches it is scanned.

        Raises `NotFound`, `NotAuthenticated` if it is another hook's secret, `InvalidRequest`.
        """
        hook = await self.get(hook_id)
        return await self._client._send(hook_calls.sample(hook, secret, model=model, commit=commit))
