"""Who calls: the bearer token of a request (RFC 6750) → `Caller`.

A route declares `caller: Annotated[Caller, needs(Scope.scans_read)]`, or one of the names at the end of this file.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer, SecurityScopes
from fastapi.security.utils import get_authorization_scheme_param
from redis import Redis
from redis.exceptions import ResponseError

from tokenforce.wire.keys import USUAL_LIMITS, KeyLimits, Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.key_store import USE_SECONDS, KeyRow, KeyStore
from tokenforce_service.access.rate_limits import TheRateLimits
from tokenforce_service.access.tokens import Token, parse
from tokenforce_service.http.dependencies import provided
from tokenforce_service.refusals import Refusal

CACHE_SECONDS = 2.0
"""How long a key that was read is remembered. A key that was revoked through another process works that much longer in
this one, and a client that polls does not cost a look-up each time."""

_BEARER = HTTPBearer(
    bearerFormat="tf_<id>_<secret>",
    scheme_name="key",
    description="A key made by `tokenforce keys create`. Each route lists the scopes that it needs.",
    auto_error=False,
)
_NO_SECRET = KeyRow("", "", "", frozenset(), 0.0, digest="0" * 64)


@dataclass(frozen=True)
class Caller:
    """Who sent a request, by the key in it."""

    owner: str
    key_id: str
    scopes: frozenset[Scope]
    limits: KeyLimits = USUAL_LIMITS

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.admin in self.scopes

    def sees(self, owner: str) -> bool:
        """Whether what belongs to `owner` exists for this caller."""
        return owner == self.owner or Scope.admin in self.scopes

    @property
    def sees_only(self) -> str | None:
        """The owner whose things are listed for this caller; None: those of all owners."""
        return None if Scope.admin in self.scopes else self.owner


class KeyRing:
    """The keys of the store, each remembered for `CACHE_SECONDS`. Unknown ids are not remembered: strangers could fill
    the memory with them."""

    def __init__(self, connection: Redis) -> None:
        self.store = KeyStore(connection)
        self._seen: dict[str, tuple[float, KeyRow]] = {}

    async def caller(self, token: Token) -> Caller:
        """The caller with this token.

        Raises:
            Refusal: `unauthenticated`: there is no such key, or it was revoked, or it has expired.
        """
        read_at, row = self._seen.get(token.key_id, (0.0, None))
        if row is None or time.monotonic() - read_at >= CACHE_SECONDS:
            row = await run_in_threadpool(self._read, token)
        if not (row or _NO_SECRET).proven_by(token.secret) or row is None:
            raise _unauthenticated("This key is unknown; check that you copied all of it, or ask for a new one.")
        # Only those who know the secret learn this.
        if row.end is not None:
            raise _unauthenticated(f"The key {row.id} {row.end}; ask for a new one.")
        return Caller(row.owner, row.id, row.scopes, row.limits)

    async def living(self, key_id: str) -> KeyRow | None:
        """The key that an event stream or an upload hook belongs to; None if the key has ended."""
        read_at, row = self._seen.get(key_id, (0.0, None))
        if row is None or time.monotonic() - read_at >= CACHE_SECONDS:
            row = await run_in_threadpool(self.store.get, key_id)
            if row is not None:
                self._seen[key_id] = (time.monotonic(), row)
        return row if row is not None and row.end is None else None

    def knows(self, request: Request) -> bool:
        """Whether the request carries a key that this process remembers. Does not read the store.

        The key may have ended meanwhile. Its secret never changes, so what is remembered of that is not outdated.
        """
        try:
            token = _token(request)
        except Refusal:
            return False
        _, row = self._seen.get(token.key_id, (0.0, None))
        return (row or _NO_SECRET).proven_by(token.secret) and row is not None

    def forget(self, key_id: str) -> None:
        """Read the key again at its next use."""
        self._seen.pop(key_id, None)

    def _read(self, token: Token) -> KeyRow | None:
        row = self.store.get(token.key_id)
        if row is not None:
            self._seen[row.id] = (time.monotonic(), row)
            if row.proven_by(token.secret) and (row.last_used_at or 0.0) <= time.time() - USE_SECONDS:
                # While the store cannot write, reads go on.
                with contextlib.suppress(ResponseError):
                    self.store.note_use(row.id)
        return row


def needs(scope: Scope) -> Any:
    """The dependency of a route that needs a key with this scope; it yields the `Caller`.

    The answer is 401 without a valid key, 429 over the key's rate, 403 without the scope.
    """
    return Security(_caller, scopes=[scope.value])


TheKeys = Annotated[KeyRing, provided(KeyRing)]


async def _caller(
    request: Request,
    scopes: SecurityScopes,
    keys: TheKeys,
    limits: TheRateLimits,
    _declared: Annotated[Any, Security(_BEARER)],
) -> Caller:
    caller = await keys.caller(_token(request))
    request.state.owner = caller.owner
    await limits.charge_key(request, caller.key_id, caller.limits)
    for scope in map(Scope, scopes.scopes):
        if not caller.may(scope):
            detail = f"The key {caller.key_id} does not have the scope {scope.value}; use a key that has it."
            header = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope.value}"'}
            raise Refusal(ErrorCode.scope_missing, detail, headers=header)
    return caller


def _token(request: Request) -> Token:
    """The token of the request. No message quotes it: it may be a secret of another service."""
    given = request.headers.getlist("authorization")
    scheme, text = get_authorization_scheme_param(given[0] if given else None)
    if len(given) != 1 or scheme.lower() != "bearer" or not text:
        detail = "This needs a key; send `Authorization: Bearer tf_…`, or set TOKENFORCE_KEY for the command line."
        raise Refusal(ErrorCode.unauthenticated, detail, headers={"WWW-Authenticate": "Bearer"})
    token = parse(text)
    if token is None:
        raise _unauthenticated("Not a valid key. Keys look like tf_<id>_<secret>; check that you copied all of it.")
    return token


def _unauthenticated(detail: str) -> Refusal:
    return Refusal(ErrorCode.unauthenticated, detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


MayRead = Annotated[Caller, needs(Scope.scans_read)]
MayWrite = Annotated[Caller, needs(Scope.scans_write)]
MayHook = Annotated[Caller, needs(Scope.hooks)]
