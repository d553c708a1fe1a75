"""For webhook endpoints: is this request from the service, and is it new?

The service delivers every event at least once. So an endpoint stores the ids of the events that it has handled for a
day or more, and answers 2xx to an id that it knows. It must answer within 10 s, and do longer work after that.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping

import standardwebhooks
from pydantic import ValidationError

from tokenforce.sdk.errors import WebhookVerificationError
from tokenforce.wire.webhooks import WebhookEvent


def verify_webhook(payload: bytes, headers: Mapping[str, str], secret: str) -> WebhookEvent:
    """The event in a webhook request, after checking its signature (Standard Webhooks).

    A copied request is valid for five minutes, so act on each event `id` once.

    Args:
        payload: the body as it arrived, before any parsing.
        headers: the headers, in upper or lower case.
        secret: the secret of the endpoint, `whsec_…`.

    Raises:
        WebhookVerificationError: a header is missing, no signature is valid, or the signature is older than five
            minutes. Answer 400.
    """
    try:
        verifier = standardwebhooks.Webhook(secret)
    except Exception as error:  # for an empty secret the library raises a class that is not public
        raise WebhookVerificationError("the secret is not the secret of an endpoint: whsec_…") from error
    try:
        verifier.verify(payload, dict(headers), json_parse=False)
    except standardwebhooks.WebhookVerificationError as error:
        raise WebhookVerificationError(str(error)) from error
    except (ValueError, binascii.Error, OverflowError) as error:  # no sender of ours makes such headers or bodies
        raise WebhookVerificationError("malformed headers or body") from error
    try:
        event = WebhookEvent.model_validate_json(payload)
    except ValidationError as error:
        raise WebhookVerificationError(
            "the signature is valid, but this is not an event of tokenforce: another service's secret?"
        ) from error
    return event.model_copy(update={"id": _header(headers, "webhook-id")})


def _header(headers: Mapping[str, str], wanted: str) -> str:
    return next(value for name, value in headers.items() if name.lower() == wanted)
