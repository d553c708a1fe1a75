"""The URL of a receiver: which ones are accepted, and which addresses its name leads to.

Checked when it is registered, for a clear answer, and again at every connection (`outbound.py`), because a name may
lead elsewhere by then.
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
"""Those below belong to mail, shells and the like, which a POST might confuse."""
_LAST_PORT = 65535


class NotAllowed(Exception):
    """The host has no address, or one that a callback may not go to. Which of the two, and which address, is not
    told: it would map the names of the operator's own network for strangers."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} does not lead to public addresses only")


class NotLookedUp(Exception):
    """The name server did not answer: nothing is known of the host, and it may be another moment."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} could not be looked up now")


@dataclass(frozen=True)
class Reach:
    """What the operator lets callbacks reach beside the public internet over https."""

    allowed: Sequence[Network] = ()
    http: bool = False


async def check(url: str, reach: Reach) -> None:
    """Accept the URL of an endpoint.

    Raises:
        Refusal: `webhook_url_refused`, with what to change; `name_lookup_failed`, to be tried again.
    """
    host = _checked_parts(url, reach)
    try:
        await addresses(host, reach.allowed)
    except NotAllowed as error:
        raise _refusal(
            f"{error}; use a public name, or have the operator allow the range (TOKENFORCE_CALLBACK_ALLOW)."
        ) from error
    except NotLookedUp as error:
        raise Refusal(ErrorCode.name_lookup_failed, f"{error}: its name server does not answer; try again.") from error


async def addresses(host: str, allowed: Sequence[Network]) -> list[Address]:
    """All addresses of a host, each of which may be called: one private one among them refuses the host.

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
    # What cannot be parsed must not be dropped: the host would then be judged by its other addresses only.
    found = [parsed(str(sockaddr[0])) for *_, sockaddr in answers]
    return [] if None in found else list(dict.fromkeys(address for address in found if address is not None))


def _checked_parts(url: str, reach: Reach) -> str:
    """The host of a URL that is well formed; no look-up yet."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise _refusal("The url has spaces, backslashes or characters beyond ASCII; encode them.")
    try:
        parts = httpx.URL(url)
        port = parts.port
    except (httpx.InvalidURL, ValueError) as error:
        raise _refusal("The url is not a URL; give one such as https://example.com/hooks.") from error
    if parts.scheme not in (("https", "http") if reach.http else ("https",)):
        raise _refusal("The url must begin with https://; http:// is for the operator to allow.")
    if not parts.host:
        raise _refusal("The url has no host; give one such as https://example.com/hooks.")
    if parts.userinfo:
        raise _refusal("The url carries a user name or password; verify the signature of a callback instead.")
    if "#" in url:
        raise _refusal("The url has a fragment (#…), which is never sent; leave it out.")
    if port is not None and port not in _WEB_PORTS and not _FIRST_FREE_PORT <= port <= _LAST_PORT:
        raise _refusal(f"The port {port} is not one for callbacks; use 443, 80 or one from {_FIRST_FREE_PORT} on.")
    host = parts.raw_host.decode("ascii")
    last = host.rstrip(".").rpartition(".")[2]
    # The system's resolver reads these as addresses in octal, hexadecimal or one number (inet_aton).
    if parsed(host) is None and (last.isdigit() or last.lower().startswith("0x")):
        raise _refusal("The host looks like an IP address in an unusual form; write it as 203.0.113.7 is written.")
    return host


def _refusal(detail: str) -> Refusal:
    return Refusal(ErrorCode.webhook_url_refused, detail)
