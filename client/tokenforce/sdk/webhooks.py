"""`client.webhooks`: endpoints that the service calls when a scan ends, and the log of its deliveries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypedDict, Unpack

from tokenforce.sdk.calls import Call, checked, nothing, once, page_params, path_of_one, reader
from tokenforce.sdk.transport import AsyncTransport, Transport
from tokenforce.wire.webhooks import (
    Delivery,
    DeliveryPage,
    Webhook,
    WebhookChange,
    WebhookPage,
    WebhookRequest,
    WebhookSecret,
)

PATH = "/v1/webhooks"


class WebhookChanges(TypedDict, total=False):
    """What you can change of an endpoint; see `WebhookChange`."""

    url: str
    events: Sequence[str]
    enabled: bool
    description: str


def create_call(*, url: str, events: Sequence[str] | None, description: str | None) -> Call[WebhookSecret]:
    body = _body(WebhookRequest, url=url, events=events, description=description)
    return Call("POST", PATH, reader(WebhookSecret), json=body, headers=once())


def list_call(*, page_size: int | None) -> Call[WebhookPage]:
    return Call("GET", PATH, reader(WebhookPage), params=page_params(page_size))


def get_call(webhook_id: str) -> Call[Webhook]:
    return Call("GET", _path(webhook_id), reader(Webhook))


def change_call(webhook_id: str, **changes: Unpack[WebhookChanges]) -> Call[Webhook]:
    return Call("PATCH", _path(webhook_id), reader(Webhook), json=_body(WebhookChange, **changes))


def remove_call(webhook_id: str) -> Call[None]:
    return Call("DELETE", _path(webhook_id), nothing)


def rotate_call(webhook_id: str) -> Call[WebhookSecret]:
    return Call("POST", f"{_path(webhook_id)}/rotate", reader(WebhookSecret), headers=once())


def test_call(webhook_id: str) -> Call[Delivery]:
    return Call("POST", f"{_path(webhook_id)}/test", reader(Delivery), headers=once())


def deliveries_call(webhook_id: str, *, status: str | None, page_size: int | None) -> Call[DeliveryPage]:
    params = {**({"status": str(status)} if status else {}), **page_params(page_size)}
    return Call("GET", f"{_path(webhook_id)}/deliveries", reader(DeliveryPage), params=params)


def delivery_call(webhook_id: str, delivery_id: str) -> Call[Delivery]:
    return Call("GET", _delivery_path(webhook_id, delivery_id), reader(Delivery))


def replay_call(webhook_id: str, delivery_id: str) -> Call[Delivery]:
    return Call("POST", f"{_delivery_path(webhook_id, delivery_id)}/replay", reader(Delivery), headers=once())


def _body(form: type[WebhookRequest] | type[WebhookChange], **given: Any) -> dict[str, Any]:
    """The JSON of what is given; None counts as left out."""
    request = checked(form, {name: value for name, value in given.items() if value is not None})
    return request.model_dump(mode="json", exclude_unset=True)


def _path(webhook_id: str) -> str:
    return path_of_one(PATH, webhook_id, "webhook")


def _delivery_path(webhook_id: str, delivery_id: str) -> str:
    return path_of_one(f"{_path(webhook_id)}/deliveries", delivery_id, "delivery")


class Webhooks:
    """`client.webhooks`; needs a key with the scope `hooks`. An endpoint reads deliveries with `verify_webhook`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, *, url: str, events: Sequence[str] | None = None, description: str | None = None) -> WebhookSecret:
        """Register an endpoint. Only this answer shows its `secret`.

        Raises:
            InvalidRequest: an option is wrong, or the service may not call this address.
            Conflict: there are too many endpoints; or an earlier attempt made this one, and its answer with the
                secret was lost. Rotate the secret.
        """
        return self._transport.send(create_call(url=url, events=events, description=description))

    def get(self, webhook_id: str) -> Webhook:
        """One endpoint, without its secret. Raises `NotFound`."""
        return self._transport.send(get_call(webhook_id))

    def iter(self, *, page_size: int | None = None) -> Iterator[Webhook]:
        """All endpoints, newest first, fetched page by page while you iterate."""
        return self._transport.items(list_call(page_size=page_size))

    def change(self, webhook_id: str, **changes: Unpack[WebhookChanges]) -> Webhook:
        """Change `url`, `events`, `enabled` or `description`; the others stay. Raises `NotFound`, `InvalidRequest`."""
        return self._transport.send(change_call(webhook_id, **changes))

    def remove(self, webhook_id: str) -> None:
        """Remove an endpoint, its log and its pending deliveries. Raises `NotFound`."""
        self._transport.send(remove_call(webhook_id))

    def rotate(self, webhook_id: str) -> WebhookSecret:
        """Make a new secret. Until `previous_secrets_until` deliveries carry a signature of the old one too.

        Raises `NotFound`, and `Conflict` if the answer of an earlier attempt was lost: rotate again.
        """
        return self._transport.send(rotate_call(webhook_id))

    def test(self, webhook_id: str) -> Delivery:
        """Send a `webhook.test` event at once. Raises `NotFound`, and `Conflict` if the endpoint is disabled."""
        return self._transport.send(test_call(webhook_id))

    def deliveries(
        self, webhook_id: str, *, status: str | None = None, page_size: int | None = None
    ) -> Iterator[Delivery]:
        """The deliveries to an endpoint, newest first. Raises `NotFound`.

        Args:
            status: only deliveries with this status; `"dead"`: those that the service no longer tries.
            page_size: deliveries per request.
        """
        return self._transport.items(deliveries_call(webhook_id, status=status, page_size=page_size))

    def delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery with its attempts and its payload. Raises `NotFound`."""
        return self._transport.send(delivery_call(webhook_id, delivery_id))

    def replay(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a delivered or dead event again, with the same id. Raises `NotFound`, `Conflict`."""
        return self._transport.send(replay_call(webhook_id, delivery_id))


class AsyncWebhooks:
    """`client.webhooks` with `await`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self, *, url: str, events: Sequence[str] | None = None, description: str | None = None
    ) -> WebhookSecret:
        """As `Webhooks.create`, with `await`."""
        return await self._transport.send(create_call(url=url, events=events, description=description))

    async def get(self, webhook_id: str) -> Webhook:
        """As `Webhooks.get`, with `await`."""
        return await self._transport.send(get_call(webhook_id))

    def iter(self, *, page_size: int | None = None) -> AsyncIterator[Webhook]:
        """As `Webhooks.iter`, with `async for`."""
        return self._transport.items(list_call(page_size=page_size))

    async def change(self, webhook_id: str, **changes: Unpack[WebhookChanges]) -> Webhook:
        """As `Webhooks.change`, with `await`."""
        return await self._transport.send(change_call(webhook_id, **changes))

    async def remove(self, webhook_id: str) -> None:
        """As `Webhooks.remove`, with `await`."""
        await self._transport.send(remove_call(webhook_id))

    async def rotate(self, webhook_id: str) -> WebhookSecret:
        """As `Webhooks.rotate`, with `await`."""
        return await self._transport.send(rotate_call(webhook_id))

    async def test(self, webhook_id: str) -> Delivery:
        """As `Webhooks.test`, with `await`."""
        return await self._transport.send(test_call(webhook_id))

    def deliveries(
        self, webhook_id: str, *, status: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Delivery]:
        """As `Webhooks.deliveries`, with `async for`."""
        return self._transport.items(deliveries_call(webhook_id, status=status, page_size=page_size))

    async def delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        """As `Webhooks.delivery`, with `await`."""
        return await self._transport.send(delivery_call(webhook_id, delivery_id))

    async def replay(self, webhook_id: str, delivery_id: str) -> Delivery:
        """As `Webhooks.replay`, with `await`."""
        return await self._transport.send(replay_call(webhook_id, delivery_id))
