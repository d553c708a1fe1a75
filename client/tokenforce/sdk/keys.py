"""`client.keys` of both clients: API keys, for those with the scope `admin`. Thin shells over `key_calls`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tokenforce.sdk import key_calls
from tokenforce.wire.keys import Key, KeyLimits, NewKey

if TYPE_CHECKING:
    from tokenforce.sdk.async_client import AsyncClient
    from tokenforce.sdk.client import Client


class Keys:
    """`client.keys`.

    Every call may also raise `NotAuthenticated`, `NotPermitted`, `ConnectionFailed`, `ServiceUnavailable`,
    `ServerError` or `UnexpectedAnswer`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self,
        *,
        owner: str,
        scopes: Sequence[str],
        name: str = "",
        expires_at: datetime | None = None,
        limits: KeyLimits | Mapping[str, int] | None = None,
    ) -> NewKey:
        """Make a key. Its `token` is told now and never again. Raises `InvalidRequest`.

        Args:
            limits: of its own, such as `{"scans_per_day": 100}`, instead of those of every key.
        """
        request = key_calls.key_request(owner=owner, scopes=scopes, name=name, expires_at=expires_at, limits=limits)
        return self._client._send(key_calls.create(request))

    def get(self, key_id: str) -> Key:
        """One key, without its secret. Raises `NotFound`."""
        return self._client._send(key_calls.get(key_id))

    def iter(self, *, page_size: int | None = None) -> Iterator[Key]:
        """Every key, revoked ones too, the newest first, fetched page by page as you iterate."""
        return self._client._items(key_calls.list_keys(page_size=page_size))

    def revoke(self, key_id: str) -> Key:
        """End a key for good; what it made stays. A revoked one may be revoked again. Raises `NotFound`."""
        return self._client._send(key_calls.revoke(key_id))


class AsyncKeys:
    """`client.keys` with `await`. See `Keys` for what each call does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(
        self,
        *,
        owner: str,
        scopes: Sequence[str],
        name: str = "",
        expires_at: datetime | None = None,
        limits: KeyLimits | Mapping[str, int] | None = None,
    ) -> NewKey:
        """Make a key. Its `token` is told now and never again. Raises `InvalidRequest`.

        Args:
            limits: of its own, such as `{"scans_per_day": 100}`, instead of those of every key.
        """
        request = key_calls.key_request(owner=owner, scopes=scopes, name=name, expires_at=expires_at, limits=limits)
        return await self._client._send(key_calls.create(request))

    async def get(self, key_id: str) -> Key:
        """One key, without its secret. Raises `NotFound`."""
        return await self._client._send(key_calls.get(key_id))

    def iter(self, *, page_size: int | None = None) -> AsyncIterator[Key]:
        """Every key, revoked ones too, the newest first, fetched page by page as you iterate."""
        return self._client._items(key_calls.list_keys(page_size=page_size))

    async def revoke(self, key_id: str) -> Key:
        """End a key for good; what it made stays. A revoked one may be revoked again. Raises `NotFound`."""
        return await self._client._send(key_calls.revoke(key_id))
