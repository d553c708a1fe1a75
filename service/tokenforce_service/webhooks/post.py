"""One POST to a receiver, which may be hostile: to a checked address, with one deadline for everything.

Uses httpcore, because httpx has features that we would have to turn off: redirects, proxies from the environment,
cookies, decompression. The name is resolved here, each address is checked, and the connection goes to the checked
address itself, so that a second look-up cannot lead elsewhere (DNS rebinding). `Host`, SNI and the name in the
certificate are still those of the URL.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import httpcore
import httpx

from tokenforce_service.refusals import one_line
from tokenforce_service.webhooks.public_addresses import Network
from tokenforce_service.webhooks.receiver_url import NotAllowed, NotLookedUp, addresses

DEADLINE_SECONDS = 10.0
"""From the look-up of the name to the last byte that is read, so that a slow answer cannot hold the connection."""
READ_BYTES = 2048
"""Bytes that are read of the body of an answer other than 2xx."""
EXCERPT_CHARACTERS = 300
"""Characters of this body that the log keeps."""
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.UnsupportedProtocol)


@dataclass(frozen=True)
class Reply:
    """The outcome of one POST. Either `status` or `error` is set."""

    seconds: float
    status: int | None = None
    error: str | None = None
    retry_after: str | None = None
    excerpt: str | None = None
    """The beginning of the body of an answer other than 2xx, safe to print."""


class CheckedClient:
    """Posts to checked addresses only. `allowed`: ranges that are not public and may receive webhooks."""

    def __init__(self, allowed: Sequence[Network] = (), tls: ssl.SSLContext | None = None) -> None:
        self._backend = CheckedBackend(allowed)
        # Uses SSL_CERT_FILE and SSL_CERT_DIR, for receivers with a private certificate authority.
        self._tls = tls or httpx.create_ssl_context()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send one POST. Errors of the receiver or the network become a `Reply`, never an exception."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                status, retry_after, excerpt = await self._exchange(url, headers, body)
        except TimeoutError:
            return Reply(time.monotonic() - started, error=f"no complete answer within {DEADLINE_SECONDS:g} s")
        except (NotAllowed, NotLookedUp) as error:
            return Reply(time.monotonic() - started, error=one_line(str(error)))
        except _FAILURES as error:
            reason = one_line(str(error))[:EXCERPT_CHARACTERS] or "closed by the receiver"
            return Reply(time.monotonic() - started, error=f"{type(error).__name__}: {reason}")
        return Reply(time.monotonic() - started, status=status, retry_after=retry_after, excerpt=excerpt)

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None, str | None]:
        parts = httpx.URL(url)
        target = httpcore.URL(scheme=parts.raw_scheme, host=parts.raw_host, port=parts.port, target=parts.raw_path)
        sent = {"Host": parts.netloc.decode("ascii"), "Accept-Encoding": "identity", **headers}
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._tls, max_connections=1, max_keepalive_connections=0, network_backend=self._backend
            ) as pool,
            pool.stream("POST", target, headers=list(sent.items()), content=body) as response,
        ):
            found = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if 200 <= response.status < 300:  # the status is enough
                return response.status, None, None
            plain = b"content-encoding" not in found
            excerpt = await _beginning(response) if plain else "(compressed)"
            return response.status, found.get(b"retry-after"), excerpt


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only. httpcore calls it with the host of the URL."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the host's addresses in the resolver's order.

        Raises:
            NotAllowed: one of them may not be called, so none is.
            NotLookedUp: the name server did not answer.
            httpcore.ConnectError: none of them answers.
        """
        refused: httpcore.ConnectError | None = None
        for address in await addresses(host, self._allowed):
            try:
                return await self._plain.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                refused = error
        raise refused or httpcore.ConnectError("no address")

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)


async def _beginning(response: httpcore.Response) -> str:
    """The first bytes of a body; the rest is not read."""
    read = bytearray()
    async for chunk in response.aiter_stream():
        read += chunk
        if len(read) >= READ_BYTES:
            break
    return one_line(bytes(read[:READ_BYTES]).decode("utf-8", "replace"))[:EXCERPT_CHARACTERS]
