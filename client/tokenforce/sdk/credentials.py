"""The key that a client sends: `Authorization: Bearer tf_…` (RFC 6750)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tokenforce.sdk.errors import NotConfigured

KEY_VARIABLE = "TOKENFORCE_KEY"
_HEADER = "Authorization"


def authorization(key: str | None, http_client_headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """The header for a key: the one given, what the http client sends already, or `TOKENFORCE_KEY`.

    Without any nothing is sent: the service then says that it wants a key.

    Raises:
        NotConfigured: it cannot be a key; the message does not quote it.
    """
    if key is None and http_client_headers is not None and _HEADER in http_client_headers:
        return {}
    source = "the key" if key is not None else KEY_VARIABLE
    found = (key if key is not None else os.environ.get(KEY_VARIABLE, "")).strip()
    if not found:
        return {}
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise NotConfigured(f"{source} is not a key such as tf_…: it has characters that no key has")
    return {_HEADER: f"Bearer {found}"}
