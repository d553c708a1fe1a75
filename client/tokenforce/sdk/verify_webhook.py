"""For receivers of callbacks: is it from the service, and is it fresh?

The service delivers at least once. A receiver remembers the `id`s of the events that it has acted on, for a day or
more, and answers 2xx to one that it has seen. It answers within 10 s, and does longer work afterwards.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping

import standardwebhooks
from pydantic import ValidationError

from tokenforce.sdk.errors import WebhookVerificationError
from tokenforce.wire.webhooks import WebhookEvent


def verify_webhook(payload: bytes, headers: Mapping[str, str], secret: str) -> WebhookEvent:
    """The event in a callback, if it is one of ours.

    `payload` is the body as it arrived, before anything parsed it; `headers` in any case; `secret` is the `whsec_…` of
    the endpoint. Raises `WebhookVerificationError` when a header is missing, no signature fits, or the callback was
    signed more than five minutes ago, so that a recorded one cannot be sent again for ever: answer 400 then.
    Within those minutes only the event's `id` tells a repetition: act on each id once.
    """
    try:
        verifier = standardwebhooks.Webhook(secret)
    except Exception as error:  # the library's own class for an empty one is not public
        raise WebhookVerificationError("the secret is not one of an endpoint: whsec_…") from error
    try:
        verifier.verify(payload, dict(headers), json_parse=False)
    except standardwebhooks.WebhookVerificationError as error:
        raise WebhookVerificationError(str(error)) from error
    except (ValueError, binascii.Error, OverflowError) as error:  # headers or a body that no sender of ours makes
        raise WebhookVerificationError("malformed headers or body") from error
    try:
        event = WebhookEvent.model_validate_json(payload)
    except ValidationError as error:
        raise WebhookVerificationError("signed, but not an event of tokenforce: another service's secret?") from error
    return event.model_copy(update={"id": _header(headers, "webhook-id")})


def _header(headers: Mapping[str, str], wanted: str) -> str:
    return next(value for name, value in headers.items() if name.lower() == wanted)
