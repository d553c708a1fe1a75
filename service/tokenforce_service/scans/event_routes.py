"""Server-sent events: what happens to one scan, and to all of the caller's scans."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tokenforce.wire.problems import ErrorCode
from tokenforce_core.scans.events import ScanChange, events_of_owner
from tokenforce_service.access.callers import Caller, KeyRing, MayRead
from tokenforce_service.http.openapi import problems
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.event_streams import FROM_THE_START, Allowed, EventStreams, change_of_end, position
from tokenforce_service.scans.routes import row_of
from tokenforce_service.scans.views import event_view

router = APIRouter(prefix="/v1", tags=["events"])

LastEventId = Annotated[str | None, Header(max_length=64, description="Go on after this event, the last one seen.")]
RECONNECT_MILLISECONDS = 1000
_DOCUMENTED = {
    200: {"description": "`id`, `event` (`status` or `progress`) and `data`, a ScanEvent; a comment every 15 s."},
    204: {"description": "The scan has ended, and `Last-Event-ID` is its last event: do not connect again."},
    **problems(400, 404, 429, 503),
}


class NothingToCome(Exception):
    """The caller has seen the last event of a stream."""


def nothing_to_come(_request: Request, _error: Exception) -> Response:
    return Response(status_code=204)


def _after(last_event_id: str | None) -> str | None:
    """The id to go on after; None for a new caller. Browsers send an empty one if the stream never named any."""
    try:
        return None if not last_event_id else "-".join(map(str, position(last_event_id)))
    except ValueError as error:
        detail = "The `Last-Event-ID` is not the id of an event of ours; connect without it."
        raise Refusal(ErrorCode.invalid_cursor, detail) from error


def _while_good(request: Request, caller: Caller) -> Allowed:
    """For as long as the caller's key is good: a stream must not outlive it."""
    keys = cast(KeyRing, request.app.state.keys)

    async def allowed() -> bool:
        return await keys.living(caller.key_id) is not None

    return allowed


async def _following_scan(
    scan_id: str, caller: MayRead, request: Request, last_event_id: LastEventId = None
) -> AsyncIterator[AsyncIterator[ScanChange]]:
    row = await run_in_threadpool(row_of, request, scan_id, caller)
    after = _after(last_event_id)
    if after is not None and row.status.final and position(after) >= position(change_of_end(row).id):
        raise NothingToCome
    streams = cast(EventStreams, request.app.state.streams)
    with streams.slot(caller.key_id):
        yield streams.of_scan(row, after or FROM_THE_START, _while_good(request, caller))


async def _following_all(
    caller: MayRead, request: Request, last_event_id: LastEventId = None
) -> AsyncIterator[tuple[str, AsyncIterator[ScanChange]]]:
    after = _after(last_event_id)
    streams = cast(EventStreams, request.app.state.streams)
    with streams.slot(caller.key_id):
        stream = events_of_owner(caller.sees_only)
        start = after or await streams.newest(stream)
        yield start, streams.of_all(stream, start, _while_good(request, caller))


@router.get(
    "/scans/{scan_id}/events",
    response_class=EventSourceResponse,
    responses=_DOCUMENTED,
    summary="What happens to a scan, as server-sent events",
)
async def events_of_scan(
    changes: Annotated[AsyncIterator[ScanChange], Depends(_following_scan)],
) -> AsyncIterable[ServerSentEvent]:
    """From the scan's first event, or after `Last-Event-ID`; ends after the event of its end."""
    yield ServerSentEvent(retry=RECONNECT_MILLISECONDS)
    async for change in changes:
        yield _event(change)


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={200: _DOCUMENTED[200], **problems(400, 429, 503)},
    summary="What happens to all of your scans, as server-sent events",
)
async def all_events(
    following: Annotated[tuple[str, AsyncIterator[ScanChange]], Depends(_following_all)],
) -> AsyncIterable[ServerSentEvent]:
    """From now on, or after `Last-Event-ID`, of the last 10,000 events; an `admin` key sees everybody's scans."""
    start, changes = following
    # Names where the stream begins, so that a caller who loses the connection before an event loses none.
    yield ServerSentEvent(retry=RECONNECT_MILLISECONDS, id=start)
    async for change in changes:
        yield _event(change)


def _event(change: ScanChange) -> ServerSentEvent:
    # As Python data: FastAPI then escapes what is not ASCII, and it would cut the line at characters such as U+2028.
    return ServerSentEvent(data=event_view(change).model_dump(mode="json"), event=change.kind, id=change.id)
