"""Keys for the tests' requests."""

from __future__ import annotations

from redis import Redis

from tokenforce.wire.keys import Scope
from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.access.tokens import Token


def made(connection: Redis, *scopes: Scope, owner: str = "local", expires_at: float | None = None) -> Token:
    """The token of a new key, an admin's unless scopes are given."""
    _, token = KeyStore(connection).create(owner, scopes or (Scope.admin,), expires_at=expires_at)
    return token


def issue(connection: Redis, *scopes: Scope, owner: str = "local") -> str:
    """As `made`, as text."""
    return str(made(connection, *scopes, owner=owner))


def bearing(token: Token | str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def bearer(connection: Redis, *scopes: Scope, owner: str = "local") -> dict[str, str]:
    """The header that carries a new key."""
    return bearing(made(connection, *scopes, owner=owner))
