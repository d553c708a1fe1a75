"""The URL of a receiver: whether it is accepted, and to which addresses its name leads.

It is checked when it is registered, for a clear error, and at each connection (post.py), because a name can lead
elsewhere later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.refusals import Refusal
from tokenforce_service.webhooks.public_addresses import Address, Network, may_be_called, parsed

LOOKUP_SECONDS = 5.0
_WEB_PORTS = (80, 443)
_FIRST_FREE_PORT = 1024
"""Lower ports belong to services such as mail and shells, which a POST could confuse."""
_LAST_PORT = 65535


class NotAllowed(Exception):
    """The host has no address, or one to which webhooks may not be sent.

    The message does not say which, and no address: strangers could map the names of the operator's network by it.
    """

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} does not lead to public addresses only")


class NotLookedUp(Exception):
    """The name server did not answer. A later look-up may succeed."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} could not be looked up now")


@dataclass(frozen=True)
class Reach:
    """What the operator lets webhooks reach beside public addresses over https."""

    allowed: Sequence[Network] = ()
    http: bool = False


async def check(url: str, reach: Reach) -> None:
    """Accept the URL of an endpoint.

    Raises:
        Refusal: `webhook_url_refused` (it says what to change); `name_lookup_failed` (try again).
    """
    host = _checked_parts(url, reach)
    try:
        await addresses(host, reach.allowed)
    except NotAllowed as error:
        raise _refusal(
            f"{error}; use a public name, or ask the operator to allow its range (TOKENFORCE_WEBHOOK_ALLOW)."
        ) from error
    except NotLookedUp as error:
        raise Refusal(
            ErrorCode.name_lookup_failed, f"{error}, because its name server does not answer; try again."
        ) from error


async def addresses(host: str, allowed: Sequence[Network]) -> list[Address]:
    """All addresses of a host. One address that is not allowed refuses the host.

    Raises:
        NotAllowed, NotLookedUp
    """
    literal = parsed(host)
    found = [literal] if literal is not None else await _resolved(host)
    if not found or not all(may_be_called(address, allowed) for address in found):
        raise NotAllowed(host)
    return found


async def _resolved(host: str) -> list[Address]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (TimeoutError, socket.gaierror) as error:
        if isinstance(error, TimeoutError) or error.errno == socket.EAI_AGAIN:
            raise NotLookedUp(host) from error
        return []
    except (OSError, UnicodeError):
        return []
    # An address that cannot be parsed is not dropped: the other addresses alone must not decide.
    found = [parsed(str(sockaddr[0])) for *_, sockaddr in answers]
    return [] if None in found else list(dict.fromkeys(address for address in found if address is not None))


def _checked_parts(url: str, reach: Reach) -> str:
    """The host of a well-formed URL, without a look-up."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise _refusal("The url has spaces, backslashes or non-ASCII characters; encode them.")
    try:
        parts = httpx.URL(url)
        port = parts.port
    except (httpx.InvalidURL, ValueError) as error:
        raise _refusal("The url is not a URL; write it like https://example.com/hooks.") from error
    if parts.scheme not in (("https", "http") if reach.http else ("https",)):
        raise _refusal(
            "The url must begin with https://; only the operator can allow http:// (TOKENFORCE_WEBHOOK_HTTP)."
        )
    if not parts.host:
        raise _refusal("The url has no host; write it like https://example.com/hooks.")
    if parts.userinfo:
        raise _refusal("The url has a user name or password; verify the signature of the webhook instead.")
    if "#" in url:
        raise _refusal("The url has a fragment (#…), which is never sent; remove it.")
    if port is not None and port not in _WEB_PORTS and not _FIRST_FREE_PORT <= port <= _LAST_PORT:
        raise _refusal(f"The port {port} is not allowed; use 443, 80, or a port from {_FIRST_FREE_PORT} on.")
    host = parts.raw_host.decode("ascii")
    last = host.rstrip(".").rpartition(".")[2]
    # The resolver of the system reads these as addresses in octal, hexadecimal or one number (inet_aton).
    if parsed(host) is None and (last.isdigit() or last.lower().startswith("0x")):
        raise _refusal("The host looks like an IP address in an unusual form; write it like 203.0.113.7.")
    return host


def _refusal(detail: str) -> Refusal:
    return Refusal(ErrorCode.webhook_url_refused, detail)
