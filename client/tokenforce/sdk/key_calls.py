"""What both clients ask about API keys, and how they read the answers; no I/O, as in `flows`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tokenforce.sdk import calls
from tokenforce.sdk.calls import Call
from tokenforce.wire.keys import Key, KeyLimits, KeyPage, KeyRequest, NewKey

PATH = "/v1/keys"


def key_request(
    *,
    owner: str,
    scopes: Sequence[str],
    name: str,
    expires_at: datetime | None,
    limits: KeyLimits | Mapping[str, int] | None,
) -> KeyRequest:
    """The body of a new key; raises `InvalidRequest` as the service would."""
    given: dict[str, Any] = {"owner": owner, "scopes": list(scopes), "name": name, "expires_at": expires_at}
    if limits is not None:
        given["limits"] = limits
    try:
        return KeyRequest.model_validate(given)
    except ValidationError as error:
        raise calls.invalid(error) from error


def create(request: KeyRequest) -> Call[NewKey]:
    """Make it. If the answer gets lost, `Conflict` says what was made; nobody knows its token then."""
    body = request.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    return Call("POST", PATH, calls.reader(NewKey), json=body, headers=calls.once())


def list_keys(*, page_size: int | None) -> Call[KeyPage]:
    return Call("GET", PATH, calls.reader(KeyPage), params=calls.page_params(page_size))


def get(key_id: str) -> Call[Key]:
    return Call("GET", _path(key_id), calls.reader(Key))


def revoke(key_id: str) -> Call[Key]:
    return Call("DELETE", _path(key_id), calls.reader(Key))


def _path(key_id: str) -> str:
    """Of a whole token only the id is sent: paths are logged, and whoever revokes may hold nothing else."""
    key_id = re.sub(r"^tf_([A-Za-z0-9]+)_.*", r"\1", key_id.strip(), flags=re.DOTALL)
    return calls.path_of_one(PATH, key_id, "key")
