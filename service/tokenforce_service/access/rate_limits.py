"""How many requests a minute: each key has a budget for reads and one for writes, each address one for everything else.

Everything else is a request without a proven key: no key, a wrong one, a body that cannot be read, an unknown path.
An address that has used up its budget is refused before anything but the key of its requests is looked at. A key that
this gateway has read before passes: otherwise one stranger could shut out everyone who shares the address. Redis
counts, so the budgets hold for all gateways together. While Redis cannot be reached, requests get 503 and are never let
through uncounted. While it cannot write (disk or memory full), reads go on uncounted, and writes fail by themselves.

Every counted answer has `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (whole seconds until the budget
is full again), as in draft-ietf-httpapi-ratelimit-headers-06: clients and proxies know these headers, and the single
field of later drafts is still changing.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from redis import Redis
from redis.exceptions import RedisError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenforce.wire.keys import KeyLimits
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.token_bucket import Standing, TokenBuckets
from tokenforce_service.http import errors
from tokenforce_service.http.dependencies import provided
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings

EXEMPT = frozenset({"/healthz", "/readyz", "/metrics"})
READS = frozenset({"GET", "HEAD", "OPTIONS"})
ADVANCE_DIVISOR = 600
"""A gateway takes this part of a minute's budget at a time, which is enough for a tenth of a second: a poll is one
look-up in the store, and counting it must not be a second one. What the gateway does not use is lost to the key: at
most 5 of 3000."""
ADVANCE_SECONDS = 60
"""How long a gateway may use what it has taken."""
MOST_CLOSED = 10_000
"""Addresses that one gateway remembers as closed; for others it asks Redis."""


@dataclass
class _Advance:
    """Requests of a key that this gateway has taken and not used yet; `until` is on the monotonic clock."""

    standing: Standing
    left: int
    until: float


class RateLimits:
    """The budgets of keys and addresses."""

    def __init__(self, connection: Redis, settings: ServiceSettings) -> None:
        self._buckets = TokenBuckets(connection)
        self._settings = settings
        self._closed_until: dict[str, float] = {}
        self._advances: dict[str, _Advance] = {}

    async def charge_key(self, request: Request, key_id: str, own: KeyLimits) -> None:
        """Count a request of a proven key, once.

        Raises:
            Refusal: `rate_limited`. RedisError: the store cannot be used.
        """
        if hasattr(request.state, "standing"):
            return
        request.state.standing = None  # from here on nothing counts for the address
        reads = request.method in READS
        if reads:
            limit = own.reads_per_minute or self._settings.reads_per_minute
        else:
            limit = own.writes_per_minute or self._settings.writes_per_minute
        kind = "reads" if reads else "writes"
        standing = await self._take(f"{kind}:{key_id}", limit)
        request.state.standing = standing
        if not standing.allowed:
            raise _refusal(standing, f"The key {key_id} may send {limit} {kind} a minute")

    async def _take(self, name: str, limit: int) -> Standing:
        advance = self._advances.get(name)
        if advance is None or not advance.left or time.monotonic() >= advance.until:
            standing = await run_in_threadpool(self._buckets.take, name, limit, max(1, limit // ADVANCE_DIVISOR))
            advance = self._advances[name] = _Advance(standing, standing.given, time.monotonic() + ADVANCE_SECONDS)
            if not standing.allowed:
                return standing
        advance.left -= 1
        return replace(advance.standing, remaining=advance.standing.remaining + advance.left)

    async def charge_address(self, address: str) -> Standing:
        """Count a request without a proven key. Raises RedisError."""
        standing = await run_in_threadpool(
            self._buckets.take, f"address:{address}", self._settings.keyless_requests_per_minute
        )
        if not standing.allowed:
            if len(self._closed_until) >= MOST_CLOSED:
                self._closed_until.clear()
            self._closed_until[address] = time.monotonic() + standing.retry_after
        return standing

    def closed_for(self, address: str) -> Standing | None:
        """The standing of an address that is known to have used up its budget."""
        until = self._closed_until.get(address)
        if until is None:
            return None
        left = until - time.monotonic()
        if left <= 0:
            self._closed_until.pop(address, None)
            return None
        seconds = int(left) + 1
        return Standing(0, self._settings.keyless_requests_per_minute, 0, 60, seconds)


TheRateLimits = Annotated[RateLimits, provided(RateLimits)]


class RateLimited:
    """Counts requests without a proven key for their address, and sets the headers of all answers.

    Args:
        known: whether a request carries a key that was proven before. Called while an address is closed, so it must
            not read the store.
    """

    def __init__(self, app: ASGIApp, limits: RateLimits, known: Callable[[Request], bool]) -> None:
        self._app = app
        self._limits = limits
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in EXEMPT:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        address = _address(scope)
        if (closed := self._limits.closed_for(address)) is not None and not self._known(request):
            await self._refuse(request, closed, receive, send)
            return
        replaced = False

        async def counted(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                if not hasattr(request.state, "standing"):
                    try:
                        request.state.standing = await self._limits.charge_address(address)
                    except RedisError as error:
                        replaced = True
                        await errors.store_failed(request, error)(scope, receive, send)
                        return
                    if not request.state.standing.allowed:
                        replaced = True
                        await self._refuse(request, request.state.standing, receive, send)
                        return
                if request.state.standing is not None:
                    MutableHeaders(scope=message).update(_headers(request.state.standing))
            if not replaced:
                await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:
            # Another middleware answers, outside of `counted`. If the store cannot count, this error is enough.
            if not hasattr(request.state, "standing"):
                with suppress(RedisError):
                    await self._limits.charge_address(address)
            raise

    async def _refuse(self, request: Request, standing: Standing, receive: Receive, send: Send) -> None:
        refusal = _refusal(standing, f"Without a valid key, an address may send {standing.limit} requests a minute")
        response = errors.answer(request, refusal)
        response.headers.update(_headers(standing))
        await response(request.scope, receive, send)


def _refusal(standing: Standing, what: str) -> Refusal:
    detail = f"{what}; try again in {standing.retry_after} s."
    return Refusal(ErrorCode.rate_limited, detail, headers={"Retry-After": str(standing.retry_after)})


def _headers(standing: Standing) -> Mapping[str, str]:
    return {
        "RateLimit-Limit": str(standing.limit),
        "RateLimit-Remaining": str(standing.remaining),
        "RateLimit-Reset": str(standing.full_in),
    }


def _address(scope: Scope) -> str:
    """The client's address; for IPv6 its /64, which is what one client has."""
    host: tuple[str, int] | None = scope.get("client")
    if host is None:
        return "local"
    try:
        address = ipaddress.ip_address(host[0].partition("%")[0])
    except ValueError:
        return host[0]
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
