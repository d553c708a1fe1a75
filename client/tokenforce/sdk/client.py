"""The two clients. Each owns a transport, and hands it to one object per resource."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import httpx

from tokenforce.sdk.events import Following, events_path, follow, follow_async
from tokenforce.sdk.fingerprints import AsyncFingerprints, Fingerprints
from tokenforce.sdk.keys import AsyncKeys, Keys
from tokenforce.sdk.scans import AsyncScans, Scans
from tokenforce.sdk.stats import AsyncStatsCalls, StatsCalls
from tokenforce.sdk.transport import AsyncTransport, Transport
from tokenforce.sdk.upload_hooks import AsyncHooks, Hooks
from tokenforce.sdk.webhooks import AsyncWebhooks, Webhooks
from tokenforce.wire.events import ScanEvent


class Client:
    """Talks to one tokenforce service. Use it as a context manager, or call `close()`.

    Every call may raise `NotAuthenticated`, `NotPermitted`, `RateLimited`, `ConnectionFailed`, `ServiceUnavailable`,
    `ServerError` or `UnexpectedAnswer`, beside the errors that its docstring names. A call is sent again a few times
    before it fails; every POST has an idempotency key, so the service carries it out once.

    Args:
        url: address of the service. Default: that of `http_client`, else the environment variable `TOKENFORCE_URL`.
        key: API key. Default: what `http_client` sends already, else the environment variable `TOKENFORCE_KEY`.
        http_client: an http client of your own, with your proxies and certificates. You close it.
        timeout: limit for each request, in seconds.

    Raises:
        NotConfigured: there is no usable address, or the key cannot be a key.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        http_client: httpx.Client | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.transport = Transport(url, key=key, http_client=http_client, timeout=timeout)
        self.url = self.transport.url
        self.scans = Scans(self.transport)
        self.fingerprints = Fingerprints(self.transport)
        self.keys = Keys(self.transport)
        self.webhooks = Webhooks(self.transport)
        self.stats = StatsCalls(self.transport)
        self.hooks = Hooks(self.transport)

    def events(self, *, last_event_id: str | None = None) -> Iterator[ScanEvent]:
        """Events of all your scans from now on, or after the event `last_event_id`. Reconnects by itself.

        The service keeps the last 10,000 events. After a longer absence, list the scans.
        """
        return follow(self.transport, Following(events_path(None), last_event_id, ends=False))

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """`Client` for asyncio: the same arguments and calls. Use it with `async with`, or call `aclose()`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        http_client: httpx.AsyncClient | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.transport = AsyncTransport(url, key=key, http_client=http_client, timeout=timeout)
        self.url = self.transport.url
        self.scans = AsyncScans(self.transport)
        self.fingerprints = AsyncFingerprints(self.transport)
        self.keys = AsyncKeys(self.transport)
        self.webhooks = AsyncWebhooks(self.transport)
        self.stats = AsyncStatsCalls(self.transport)
        self.hooks = AsyncHooks(self.transport)

    def events(self, *, last_event_id: str | None = None) -> AsyncIterator[ScanEvent]:
        """As `Client.events`, with `async for`."""
        return follow_async(self.transport, Following(events_path(None), last_event_id, ends=False))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
