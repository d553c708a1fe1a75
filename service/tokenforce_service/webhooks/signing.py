"""Headers of a webhook (Standard Webhooks, "Signature scheme"): `v1` is HMAC-SHA-256 over id, time and body."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import standardwebhooks

from tokenforce_service.moments import moment

USER_AGENT = f"tokenforce/{version('tokenforce')} (+webhooks)"


def signed_headers(event_id: str, body: str, keys: Sequence[str], at: float) -> dict[str, str]:
    """Headers of one attempt at the time `at`, in seconds since the epoch. One signature per secret in `keys`."""
    signed_at = moment(int(at))
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": " ".join(standardwebhooks.Webhook(key).sign(event_id, signed_at, body) for key in keys),
    }
