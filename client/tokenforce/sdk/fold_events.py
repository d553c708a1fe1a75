"""The wire type of server-sent events, and how both clients follow a stream of them; no I/O, as in `flows`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
from pydantic import ValidationError

from tokenforce.sdk import calls
from tokenforce.sdk.calls import Call
from tokenforce.sdk.errors import UnexpectedAnswer
from tokenforce.sdk.retries import Attempts
from tokenforce.sdk.server_sent_events import EventParser, ServerSentEvent
from tokenforce.wire.events import EventKind, ScanEvent

PATH = "/v1/events"
SILENCE_SECONDS = 45.0
"""The service says something every 15 s; a connection that is silent for longer is dead."""
RECONNECT_SECONDS = 0.5
"""Pause after a connection that the service, or a proxy, has ended in order."""
ATTEMPTS = 8
"""Tries to connect before giving up; enough for a restart of the service."""


class Following:
    """One stream of events over as many connections as it takes, each from where the last one ended.

    Args:
        path: of the stream.
        last_event_id: the event to go on after; None is the start that the service chooses.
        ends: whether the stream is over after the final event of a scan.
    """

    def __init__(self, path: str, last_event_id: str | None, *, ends: bool) -> None:
        self._call: Call[None] = Call("GET", path, _nothing, attempts=ATTEMPTS)
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
        """Look at the head of an answer that stands; raises the error that it is. 204 says that nothing will come."""
        if response.status_code == httpx.codes.NO_CONTENT:
            self.over = True
            return
        if not response.is_success:
            raise calls.error_of(response)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise _not_ours(response)
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


def path_of(scan_id: str | None) -> str:
    return PATH if scan_id is None else f"{calls.scan_path(scan_id)}/events"


def _scan_event(event: ServerSentEvent) -> ScanEvent:
    try:
        return ScanEvent.model_validate_json(event.data)
    except ValidationError as error:
        detail = "the service sent an event that is none of a tokenforce service"
        raise UnexpectedAnswer(detail, status=200, code="unexpected_answer") from error


def _not_ours(response: httpx.Response) -> UnexpectedAnswer:
    detail = f"{response.request.url} answered without a stream of events: is this a tokenforce service?"
    return UnexpectedAnswer(detail, status=response.status_code, code="unexpected_answer")


def _nothing(_: httpx.Response) -> None:
    return None
