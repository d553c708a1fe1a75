"""`client.stats` of both clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenforce.sdk import calls
from tokenforce.wire.stats import Stats

if TYPE_CHECKING:
    from tokenforce.sdk.async_client import AsyncClient
    from tokenforce.sdk.client import Client


def _read() -> calls.Call[Stats]:
    return calls.Call("GET", "/v1/stats", calls.reader(Stats))


class StatsCalls:
    """`client.stats`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self) -> Stats:
        """Queues, workers, throughput and counts of scans, as they are now."""
        return self._client._send(_read())


class AsyncStatsCalls:
    """`client.stats` with `await`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self) -> Stats:
        """Queues, workers, throughput and counts of scans, as they are now."""
        return await self._client._send(_read())
