"""Keys for the tests' requests."""

from __future__ import annotations

from redis import Redis

from tokenforce.api_keys import Scope
from tokenforce_service.key_store import KeyStore


def issue(connection: Redis, *scopes: Scope, owner: str = "local") -> str:
    """The token of a new key, an admin's unless scopes are given."""
    _, token = KeyStore(connection).create(owner, scopes or (Scope.admin,))
    return str(token)


def bearer(connection: Redis, *scopes: Scope, owner: str = "local") -> dict[str, str]:
    """The header that carries a new key."""
    return {"Authorization": f"Bearer {issue(connection, *scopes, owner=owner)}"}
