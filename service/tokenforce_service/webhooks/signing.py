"""The headers of a callback (Standard Webhooks, "Signature scheme"): `v1` is HMAC-SHA-256 over id, time and body."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import standardwebhooks

USER_AGENT = f"tokenforce/{version('tokenforce')} (+webhooks)"


def signed_headers(event_id: str, body: str, keys: Sequence[str], at: float) -> dict[str, str]:
    """Headers for one attempt at the time `at`, in seconds since the epoch. One signature per secret in `keys`."""
    moment = datetime.fromtimestamp(int(at), UTC)
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": " ".join(standardwebhooks.Webhook(key).sign(event_id, moment, body) for key in keys),
    }
