"""How API keys are listed."""

from __future__ import annotations

from datetime import UTC, datetime

from tokenforce.cli.tables import Listing, minute
from tokenforce.wire.keys import Key


def state(key: Key) -> str:
    """Whether the key works, and until when."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return "expired" if key.expires_at <= datetime.now(UTC) else f"until {key.expires_at:%Y-%m-%d}"


KEYS: Listing[Key] = Listing(
    "keys",
    narrow=("id", "created", "last used", "state"),
    wide=("owner", "scopes", "name"),
    cells=lambda key: (
        *(key.id, minute(key.created_at), minute(key.last_used_at), state(key)),
        *(key.owner, ", ".join(key.scopes), key.name),
    ),
)
