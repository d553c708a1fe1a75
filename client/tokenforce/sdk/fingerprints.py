"""`client.fingerprints` of both clients: the registry of known fingerprints. Thin shells over `registry_calls`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from tokenforce.sdk import registry_calls
from tokenforce.wire.fingerprints import Fingerprint, TextHash

if TYPE_CHECKING:
    from tokenforce.sdk.async_client import AsyncClient
    from tokenforce.sdk.client import Client


class Fingerprints:
    """`client.fingerprints`.

    Every call may also raise `NotAuthenticated`, `NotPermitted`, `ConnectionFailed`, `ServiceUnavailable`,
    `ServerError` or `UnexpectedAnswer`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self,
        *,
        owner: str,
        licence: str,
        text: str | None = None,
        text_hash: TextHash | None = None,
        triggers: Sequence[str] = (),
    ) -> Fingerprint:
        """Register a text, or a hash of it; see `FingerprintRequest`. Raises `InvalidRequest`, `Conflict`."""
        request = registry_calls.fingerprint_request(
            owner=owner, licence=licence, text=text, text_hash=text_hash, triggers=triggers
        )
        return self._client._send(registry_calls.create(request))

    def get(self, fingerprint_id: str) -> Fingerprint:
        """One registered fingerprint, without its secrets. Raises `NotFound`."""
        return self._client._send(registry_calls.get(fingerprint_id))

    def iter(self, *, page_size: int | None = None) -> Iterator[Fingerprint]:
        """Every registered fingerprint, the newest first, fetched page by page as you iterate."""
        return self._client._items(registry_calls.list_fingerprints(page_size=page_size))

    def remove(self, fingerprint_id: str) -> None:
        """Forget a fingerprint with its secrets; reports that name it stay. Raises `NotFound`."""
        self._client._send(registry_calls.remove(fingerprint_id))


class AsyncFingerprints:
    """`client.fingerprints` with `await`. See `Fingerprints` for what each call does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(
        self,
        *,
        owner: str,
        licence: str,
        text: str | None = None,
        text_hash: TextHash | None = None,
        triggers: Sequence[str] = (),
    ) -> Fingerprint:
        """Register a text, or a hash of it; see `FingerprintRequest`. Raises `InvalidRequest`, `Conflict`."""
        request = registry_calls.fingerprint_request(
            owner=owner, licence=licence, text=text, text_hash=text_hash, triggers=triggers
        )
        return await self._client._send(registry_calls.create(request))

    async def get(self, fingerprint_id: str) -> Fingerprint:
        """One registered fingerprint, without its secrets. Raises `NotFound`."""
        return await self._client._send(registry_calls.get(fingerprint_id))

    def iter(self, *, page_size: int | None = None) -> AsyncIterator[Fingerprint]:
        """Every registered fingerprint, the newest first, fetched page by page as you iterate."""
        return self._client._items(registry_calls.list_fingerprints(page_size=page_size))

    async def remove(self, fingerprint_id: str) -> None:
        """Forget a fingerprint with its secrets; reports that name it stay. Raises `NotFound`."""
        await self._client._send(registry_calls.remove(fingerprint_id))
