"""`client.webhooks` of both clients: where the service tells of the end of scans. Thin shells over `webhook_calls`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Unpack

from tokenforce.sdk import webhook_calls
from tokenforce.sdk.webhook_calls import WebhookChanges
from tokenforce.wire.webhooks import Delivery, Webhook, WebhookSecret

if TYPE_CHECKING:
    from tokenforce.sdk.async_client import AsyncClient
    from tokenforce.sdk.client import Client


class Webhooks:
    """`client.webhooks`. What arrives at an endpoint is read with `tokenforce.verify_webhook`.

    Every call may also raise `ConnectionFailed`, `ServiceUnavailable`, `ServerError` or `UnexpectedAnswer`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, *, url: str, events: Sequence[str] | None = None, description: str | None = None) -> WebhookSecret:
        """Register an endpoint; its `secret` is shown this once. Raises `InvalidRequest`, `Conflict`."""
        return self._client._send(webhook_calls.create(url=url, events=events, description=description))

    def get(self, webhook_id: str) -> Webhook:
        """One endpoint, without its secret. Raises `NotFound`."""
        return self._client._send(webhook_calls.get(webhook_id))

    def iter(self, *, page_size: int | None = None) -> Iterator[Webhook]:
        """Every endpoint, the newest first, fetched page by page as you iterate."""
        return self._client._items(webhook_calls.list_webhooks(page_size=page_size))

    def change(self, webhook_id: str, **changes: Unpack[WebhookChanges]) -> Webhook:
        """Change what is given of `url`, `events`, `enabled`, `description`. Raises `NotFound`, `InvalidRequest`."""
        return self._client._send(webhook_calls.change(webhook_id, **changes))

    def remove(self, webhook_id: str) -> None:
        """Remove an endpoint with its log; what waits to be sent is not sent. Raises `NotFound`."""
        self._client._send(webhook_calls.remove(webhook_id))

    def rotate(self, webhook_id: str) -> WebhookSecret:
        """A new secret; the old one still signs too until `previous_secrets_until`. Raises `NotFound`, `Conflict`."""
        return self._client._send(webhook_calls.rotate(webhook_id))

    def test(self, webhook_id: str) -> Delivery:
        """Send a `webhook.test` event at once. Raises `NotFound`, and `Conflict` if the endpoint is disabled."""
        return self._client._send(webhook_calls.test(webhook_id))

    def deliveries(
        self, webhook_id: str, *, status: str | None = None, page_size: int | None = None
    ) -> Iterator[Delivery]:
        """The delivery log, the newest first; `status="dead"`: those that were given up. Raises `NotFound`."""
        return self._client._items(webhook_calls.deliveries(webhook_id, status=status, page_size=page_size))

    def delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery with its attempts and its payload. Raises `NotFound`."""
        return self._client._send(webhook_calls.delivery(webhook_id, delivery_id))

    def replay(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send one that was delivered or given up again, with the same id. Raises `NotFound`, `Conflict`."""
        return self._client._send(webhook_calls.replay(webhook_id, delivery_id))


class AsyncWebhooks:
    """`client.webhooks` with `await`. See `Webhooks` for what each call does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(
        self, *, url: str, events: Sequence[str] | None = None, description: str | None = None
    ) -> WebhookSecret:
        """Register an endpoint; its `secret` is shown this once. Raises `InvalidRequest`, `Conflict`."""
        return await self._client._send(webhook_calls.create(url=url, events=events, description=description))

    async def get(self, webhook_id: str) -> Webhook:
        """One endpoint, without its secret. Raises `NotFound`."""
        return await self._client._send(webhook_calls.get(webhook_id))

    def iter(self, *, page_size: int | None = None) -> AsyncIterator[Webhook]:
        """Every endpoint, the newest first, fetched page by page as you iterate."""
        return self._client._items(webhook_calls.list_webhooks(page_size=page_size))

    async def change(self, webhook_id: str, **changes: Unpack[WebhookChanges]) -> Webhook:
        """Change what is given of `url`, `events`, `enabled`, `description`. Raises `NotFound`, `InvalidRequest`."""
        return await self._client._send(webhook_calls.change(webhook_id, **changes))

    async def remove(self, webhook_id: str) -> None:
        """Remove an endpoint with its log; what waits to be sent is not sent. Raises `NotFound`."""
        await self._client._send(webhook_calls.remove(webhook_id))

    async def rotate(self, webhook_id: str) -> WebhookSecret:
        """A new secret; the old one still signs too until `previous_secrets_until`. Raises `NotFound`, `Conflict`."""
        return await self._client._send(webhook_calls.rotate(webhook_id))

    async def test(self, webhook_id: str) -> Delivery:
        """Send a `webhook.test` event at once. Raises `NotFound`, and `Conflict` if the endpoint is disabled."""
        return await self._client._send(webhook_calls.test(webhook_id))

    def deliveries(
        self, webhook_id: str, *, status: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Delivery]:
        """The delivery log, the newest first; `status="dead"`: those that were given up. Raises `NotFound`."""
        return self._client._items(webhook_calls.deliveries(webhook_id, status=status, page_size=page_size))

    async def delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery with its attempts and its payload. Raises `NotFound`."""
        return await self._client._send(webhook_calls.delivery(webhook_id, delivery_id))

    async def replay(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send one that was delivered or given up again, with the same id. Raises `NotFound`, `Conflict`."""
        return await self._client._send(webhook_calls.replay(webhook_id, delivery_id))
