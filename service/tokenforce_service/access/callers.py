"""Who calls: the bearer token of a request (RFC 6750) → `Caller`.

A route says `caller: Annotated[Caller, needs(Scope.scans_read)]`, or one of the names below.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer, SecurityScopes
from fastapi.security.utils import get_authorization_scheme_param
from redis import Redis
from redis.exceptions import ResponseError

from tokenforce.wire.keys import USUAL_LIMITS, KeyLimits, Scope
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.rate_limits import RateLimits
from tokenforce_service.access.store import USE_SECONDS, KeyRow, KeyStore
from tokenforce_service.access.tokens import Token, parse
from tokenforce_service.refusals import Refusal

CACHE_SECONDS = 2.0
"""What the store says of a key is believed this long: a key revoked through another process works no longer than that
in this one, and a client that polls costs no look-up each time."""

_BEARER = HTTPBearer(
    bearerFormat="tf_<id>_<secret>",
    scheme_name="key",
    description="A key of `tokenforce keys create`. The scopes that a route needs are listed with it.",
    auto_error=False,
)
_NO_SECRET = KeyRow("", "", "", frozenset(), 0.0, digest="0" * 64)


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request, by the key that it carried."""

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
        """The owner whose things are listed for this caller; None means everybody's."""
        return None if Scope.admin in self.scopes else self.owner


class KeyRing:
    """The keys of the store, each remembered for `CACHE_SECONDS`. Unknown ids are not: strangers could fill it."""

    def __init__(self, connection: Redis) -> None:
        self.store = KeyStore(connection)
        self._seen: dict[str, tuple[float, KeyRow]] = {}

    async def caller(self, token: Token) -> Caller:
        """Whose token it is.

        Raises:
            Refusal: there is no such key, or it was revoked, or it has expired.
        """
        read_at, row = self._seen.get(token.key_id, (0.0, None))
        if row is None or time.monotonic() - read_at >= CACHE_SECONDS:
            row = await run_in_threadpool(self._read, token)
        if not (row or _NO_SECRET).proven_by(token.secret) or row is None:
            raise _unauthenticated("The key is unknown; check that it was copied whole, or ask for a new one.")
        # Only told to those who know the secret.
        if row.end is not None:
            raise _unauthenticated(f"The key {row.id} {row.end}; ask for a new one.")
        return Caller(row.owner, row.id, row.scopes, row.limits)

    async def living(self, key_id: str) -> KeyRow | None:
        """The key in whose name something goes on, as event streams and upload hooks do; None if it has ended."""
        read_at, row = self._seen.get(key_id, (0.0, None))
        if row is None or time.monotonic() - read_at >= CACHE_SECONDS:
            row = await run_in_threadpool(self.store.get, key_id)
            if row is not None:
                self._seen[key_id] = (time.monotonic(), row)
        return row if row is not None and row.end is None else None

    def knows(self, request: Request) -> bool:
        """Whether the request carries a key that was read here before, by what is remembered: the store is not asked.

        Says nothing of whether the key is still good; its secret never changes, so it is no old news.
        """
        try:
            token = _token(request)
        except Refusal:
            return False
        _, row = self._seen.get(token.key_id, (0.0, None))
        return (row or _NO_SECRET).proven_by(token.secret) and row is not None

    def forget(self, key_id: str) -> None:
        """Read the key anew at its next use."""
        self._seen.pop(key_id, None)

    def _read(self, token: Token) -> KeyRow | None:
        row = self.store.get(token.key_id)
        if row is not None:
            self._seen[row.id] = (time.monotonic(), row)
            if row.proven_by(token.secret) and (row.last_used_at or 0.0) <= time.time() - USE_SECONDS:
                # A store that cannot write now is no reason not to read.
                with contextlib.suppress(ResponseError):
                    self.store.note_use(row.id)
        return row


def needs(scope: Scope) -> Any:
    """The dependency of a route that only keys with this scope may call; it yields the `Caller`.

    The request is answered by 401 without a valid key, by 429 over its rate, by 403 if it lacks the scope.
    """
    return Security(_caller, scopes=[scope.value])


async def _caller(request: Request, scopes: SecurityScopes, _declared: Annotated[Any, Security(_BEARER)]) -> Caller:
    caller = await cast(KeyRing, request.app.state.keys).caller(_token(request))
    request.state.owner = caller.owner
    await cast(RateLimits, request.app.state.rate_limits).charge_key(request, caller.key_id, caller.limits)
    for scope in map(Scope, scopes.scopes):
        if not caller.may(scope):
            detail = f"The key {caller.key_id} lacks the scope {scope.value}; use another key, or ask for one with it."
            header = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope.value}"'}
            raise Refusal(ErrorCode.scope_missing, detail, headers=header)
    return caller


def _token(request: Request) -> Token:
    """The token of the request. No message quotes what was sent: it may be a secret of another service."""
    given = request.headers.getlist("authorization")
    scheme, text = get_authorization_scheme_param(given[0] if given else None)
    if len(given) != 1 or scheme.lower() != "bearer" or not text:
        detail = "This needs a key; send `Authorization: Bearer tf_…`, or set TOKENFORCE_KEY for the command line."
        raise Refusal(ErrorCode.unauthenticated, detail, headers={"WWW-Authenticate": "Bearer"})
    token = parse(text)
    if token is None:
        raise _unauthenticated("This is no key: they look like tf_<id>_<secret>; check that it was copied whole.")
    return token


def _unauthenticated(detail: str) -> Refusal:
    return Refusal(ErrorCode.unauthenticated, detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


MayRead = Annotated[Caller, needs(Scope.scans_read)]
MayWrite = Annotated[Caller, needs(Scope.scans_write)]
MayHook = Annotated[Caller, needs(Scope.hooks)]
