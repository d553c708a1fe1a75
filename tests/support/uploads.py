"""Events of uploads as their senders post them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from tokenforce.sdk import upload_hooks

RECORDED = Path(__file__).parents[1] / "data" / "hub_webhooks"


def recorded(name: str) -> bytes:
    """A recorded body of the Hub."""
    return (RECORDED / f"{name}.json").read_bytes()


def changed(name: str, **changes: Any) -> bytes:
    """The same with other top-level fields; those of `repo` are merged."""
    document = cast("dict[str, Any]", json.loads(recorded(name)))
    repo = {**document["repo"], **changes.pop("repo", {})}
    return json.dumps({**document, "repo": repo, **changes}).encode()


def message(secret: str, *, name: str = "msg_1", late: float = 0.0, body: Any = None, **event: Any) -> dict[str, Any]:
    """Body and headers of a signed message; `late`: seconds since it was signed."""
    content = json.dumps(event).encode() if body is None else body
    at = datetime.now(UTC) - timedelta(seconds=late)
    return {"content": content, "headers": upload_hooks.signed(content, secret, message_id=name, at=at)}
