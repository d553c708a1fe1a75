"""What both clients ask about callbacks, and how they read the answers; no I/O, as in `flows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

from pydantic import ValidationError

from tokenforce.sdk import calls
from tokenforce.sdk.calls import Call
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
    """What may be changed of an endpoint; see `WebhookChange`."""

    url: str
    events: Sequence[str]
    enabled: bool
    description: str


def create(*, url: str, events: Sequence[str] | None, description: str | None) -> Call[WebhookSecret]:
    """Register it. If the answer gets lost, `Conflict` says what was made; nobody knows its secret then."""
    body = _body(WebhookRequest, url=url, events=events, description=description)
    return Call("POST", PATH, calls.reader(WebhookSecret), json=body, headers=calls.once())


def list_webhooks(*, page_size: int | None) -> Call[WebhookPage]:
    return Call("GET", PATH, calls.reader(WebhookPage), params=calls.page_params(page_size))


def get(webhook_id: str) -> Call[Webhook]:
    return Call("GET", _path(webhook_id), calls.reader(Webhook))


def change(webhook_id: str, **changes: Unpack[WebhookChanges]) -> Call[Webhook]:
    return Call("PATCH", _path(webhook_id), calls.reader(Webhook), json=_body(WebhookChange, **changes))


def remove(webhook_id: str) -> Call[None]:
    return Call("DELETE", _path(webhook_id), calls.nothing)


def rotate(webhook_id: str) -> Call[WebhookSecret]:
    """A new secret. If the answer gets lost, `Conflict` says that it was made; rotate again then."""
    return Call("POST", f"{_path(webhook_id)}/rotate", calls.reader(WebhookSecret), headers=calls.once())


def test(webhook_id: str) -> Call[Delivery]:
    return Call("POST", f"{_path(webhook_id)}/test", calls.reader(Delivery), headers=calls.once())


def deliveries(webhook_id: str, *, status: str | None, page_size: int | None) -> Call[DeliveryPage]:
    params = {**({"status": str(status)} if status else {}), **calls.page_params(page_size)}
    return Call("GET", f"{_path(webhook_id)}/deliveries", calls.reader(DeliveryPage), params=params)


def delivery(webhook_id: str, delivery_id: str) -> Call[Delivery]:
    return Call("GET", _delivery_path(webhook_id, delivery_id), calls.reader(Delivery))


def replay(webhook_id: str, delivery_id: str) -> Call[Delivery]:
    path = f"{_delivery_path(webhook_id, delivery_id)}/replay"
    return Call("POST", path, calls.reader(Delivery), headers=calls.once())


def _body(kind: type[WebhookRequest] | type[WebhookChange], **given: Any) -> dict[str, Any]:
    """The JSON of what is given; raises `InvalidRequest` as the service would."""
    try:
        request = kind.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise calls.invalid(error) from error
    return request.model_dump(mode="json", exclude_unset=True)


def _path(webhook_id: str) -> str:
    return calls.path_of_one(PATH, webhook_id, "webhook")


def _delivery_path(webhook_id: str, delivery_id: str) -> str:
    return calls.path_of_one(f"{_path(webhook_id)}/deliveries", delivery_id, "delivery")
