"""Limits for requests while they arrive: slow and endless requests are cut off.

`BodyLimit` refuses a body while a route reads it, with a problem document. `TimedProtocol` closes the connection if
headers are slow or a body goes on after the answer, because uvicorn limits neither.
"""

from __future__ import annotations

import asyncio

import h11
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

ANSWERED_SECONDS = 2.0
"""Time that a connection has beyond the limit, so that a slow client still gets its answer."""


class BodyLimit:
    """Refuses bodies over `limit` bytes or `seconds` while they arrive. The errors become problem documents."""

    def __init__(self, app: ASGIApp, limit: int, seconds: float) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        received = int(declared) if declared.isdecimal() and int(declared) > self._limit else 0
        until = asyncio.get_running_loop().time() + self._seconds
        complete = False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:  # the route waits for the client to disconnect, as event streams do
                return await receive()
            message = await self._timed(receive, until) if received <= self._limit else {"type": "http.request"}
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(413, f"The body is larger than {self._limit} bytes; send a smaller one.")
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, limited, send)

    async def _timed(self, receive: Receive, until: float) -> Message:
        try:
            async with asyncio.timeout_at(until):
                return await receive()
        except TimeoutError as error:
            detail = f"The body did not arrive within {self._seconds:g} s; send it faster, or send less."
            raise HTTPException(408, detail, {"Connection": "close"}) from error


def timed_protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol on h11 that closes a connection if a request is not complete within `seconds`.

    h11 limits the size of the headers (64 KiB) and httptools does not. The price is a fraction of a millisecond per
    request.
    """

    class TimedProtocol(H11Protocol):
        _end: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _expect(self) -> None:
            """One timer from the first byte, or from the connection, until the request is complete."""
            if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
                self._forget()
            elif self._end is None:
                self._end = self.loop.call_later(seconds + ANSWERED_SECONDS, self.transport.abort)

        def _forget(self) -> None:
            if self._end is not None:
                self._end.cancel()
                self._end = None

    return TimedProtocol
