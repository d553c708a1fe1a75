"""`client.stats`: what the service is doing now."""

from __future__ import annotations

from tokenforce.sdk.calls import Call, reader
from tokenforce.sdk.transport import AsyncTransport, Transport
from tokenforce.wire.stats import Stats


def get_call() -> Call[Stats]:
    return Call("GET", "/v1/stats", reader(Stats))


class StatsCalls:
    """`client.stats`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> Stats:
        """Queues, workers, throughput and numbers of scans, as they are now."""
        return self._transport.send(get_call())


class AsyncStatsCalls:
    """`client.stats` with `await`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self) -> Stats:
        """As `StatsCalls.get`, with `await`."""
        return await self._transport.send(get_call())
