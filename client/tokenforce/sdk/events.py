"""`client.events` and `client.scans.events`: server-sent events as they happen, over as many connections as needed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import httpx
from pydantic import ValidationError

from tokenforce.sdk.calls import Call, error_of, nothing, place_of
from tokenforce.sdk.errors import UnexpectedAnswer
from tokenforce.sdk.retries import Attempts
from tokenforce.sdk.transport import AsyncTransport, Transport
from tokenforce.wire.events import EventKind, ScanEvent

PATH = "/v1/events"
SILENCE_SECONDS = 45.0
"""The service sends something every 15 s, so a connection that is silent for longer is dead."""
RECONNECT_SECONDS = 0.5
"""Pause after the service or a proxy has closed a connection in the normal way."""
ATTEMPTS = 8
"""Attempts to connect before the call fails: enough for a restart of the service."""
_LINE_END = re.compile(rb"\r\n|\r|\n")


def events_path(scan_path: str | None) -> str:
    """The path of one scan's events; without a scan, of the events of all."""
    return PATH if scan_path is None else f"{scan_path}/events"


def follow(transport: Transport, following: Following) -> Iterator[ScanEvent]:
    """Every event until the stream is over. When a connection ends, reconnects after the last event seen."""
    while not following.over:
        call = following.connect()
        try:
            with transport.stream(call, SILENCE_SECONDS) as response:
                pause = following.attempts.after_answer(response)
                if pause is None:
                    if response.is_error:
                        response.read()
                    following.answered(response)
                    for chunk in response.iter_bytes():
                        yield from following.events(chunk)
                        if following.over:
                            return
        except httpx.RequestError as error:
            pause = following.attempts.after_failure(error, transport.place)
        if not following.over:
            transport.pause(RECONNECT_SECONDS if pause is None else pause)


async def follow_async(transport: AsyncTransport, following: Following) -> AsyncIterator[ScanEvent]:
    """`follow` with `await`."""
    while not following.over:
        call = following.connect()
        try:
            async with transport.stream(call, SILENCE_SECONDS) as response:
                pause = following.attempts.after_answer(response)
                if pause is None:
                    if response.is_error:
                        await response.aread()
                    following.answered(response)
                    async for chunk in response.aiter_bytes():
                        for event in following.events(chunk):
                            yield event
                        if following.over:
                            return
        except httpx.RequestError as error:
            pause = following.attempts.after_failure(error, transport.place)
        if not following.over:
            await transport.pause(RECONNECT_SECONDS if pause is None else pause)


class Following:
    """One stream of events over any number of connections; each continues after the last event of the one before.

    Args:
        path: path of the stream.
        last_event_id: continue after this event. None: the service chooses where to start.
        ends: whether the stream is over after the final event of a scan.
    """

    def __init__(self, path: str, last_event_id: str | None, *, ends: bool) -> None:
        self._call: Call[None] = Call("GET", path, nothing, attempts=ATTEMPTS)
        self._last = last_event_id
        self._ends = ends
        self._parser = EventParser()
        self.over = False
        self.attempts = Attempts(self._call)

    def connect(self) -> Call[None]:
        """The call for the next connection."""
        self._parser = EventParser()
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if self._last:
            headers["Last-Event-ID"] = self._last
        return replace(self._call, headers=headers)

    def answered(self, response: httpx.Response) -> None:
        """Checks the head of a final answer; 204 ends the stream. Raises the typed error of an error answer."""
        if response.status_code == httpx.codes.NO_CONTENT:
            self.over = True
            return
        if not response.is_success:
            raise error_of(response)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise UnexpectedAnswer(
                f"{place_of(response)} answered without a stream of events: is this a tokenforce service?",
                status=response.status_code,
                code="unexpected_answer",
            )
        self.attempts = Attempts(self._call)

    def events(self, chunk: bytes) -> Iterator[ScanEvent]:
        """The events that this piece of the stream completes."""
        for event in self._parser.feed(chunk):
            if event.data:
                found = _scan_event(event)
                self._last = event.id or self._last
                self.over = self._ends and found.kind == EventKind.status and found.status.final
                yield found
            self._last = event.id or self._last


def _scan_event(event: ServerSentEvent) -> ScanEvent:
    try:
        return ScanEvent.model_validate_json(event.data)
    except ValidationError as error:
        detail = "the service sent an event that is not a tokenforce event"
        raise UnexpectedAnswer(detail, status=200, code="unexpected_answer") from error


@dataclass(frozen=True)
class ServerSentEvent:
    """One event. Without `data` it only names an id."""

    event: str
    data: str
    id: str
    """The last id that the stream has named; "" before the first."""


class EventParser:
    """Parses server-sent events (WHATWG HTML, 9.2.6 "Interpreting an event stream") from pieces cut anywhere.

    Ignores `retry`: the SDK has its own pauses.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._after_return = False
        self._event = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """The events whose last line is in this piece."""
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a line end that was cut in two
        self._after_return = chunk.endswith(b"\r") if chunk else self._after_return
        *lines, self._pending = _LINE_END.split(self._pending + chunk)
        for line in lines:
            yield from self._line(line.decode("utf-8", "replace"))

    def _line(self, line: str) -> Iterator[ServerSentEvent]:
        if not line:
            event = ServerSentEvent(self._event or "message", "\n".join(self._data), self._id)
            self._event, self._data = "", []
            yield event
            return
        name, _, value = line.removeprefix("\ufeff").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
