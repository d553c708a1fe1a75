"""Parses server-sent events (WHATWG HTML, 9.2.6 "Interpreting an event stream") from bytes as they arrive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class ServerSentEvent:
    """`id` is the last one that the stream has named, "" before the first. Without `data` it only names an id."""

    event: str
    data: str
    id: str


class EventParser:
    """Feed it what a connection brings, in pieces cut anywhere. Ignores `retry`: the SDK has its own pauses."""

    def __init__(self) -> None:
        self._pending = b""
        self._after_return = False
        self._event = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """The events whose last line this piece brings."""
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
