"""Server-sent events: what happens to one scan, or to all scans of the caller's owner."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tokenforce.wire.problems import ErrorCode
from tokenforce_core.scans.events import ScanChange, events_of_owner
from tokenforce_service.access.callers import Caller, KeyRing, MayRead, TheKeys
from tokenforce_service.http.dependencies import TheStore, provided
from tokenforce_service.http.openapi import problems
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.event_streams import FROM_THE_START, Allowed, EventStreams, change_of_end, position
from tokenforce_service.scans.routes import SCANS
from tokenforce_service.scans.views import event_view

router = APIRouter(prefix="/v1", tags=["events"])

TheStreams = Annotated[EventStreams, provided(EventStreams)]
LastEventId = Annotated[
    str | None, Header(max_length=64, description="The id of the last event that you received; continue after it.")
]
RECONNECT_MILLISECONDS = 1000
_DOCUMENTED = {
    200: {"description": "`id`, `event` (`status` or `progress`) and `data`, a ScanEvent; a comment every 15 s."},
    204: {"description": "The scan has ended, and `Last-Event-ID` is its last event: do not connect again."},
    **problems(400, 404, 429, 503),
}


class NothingToCome(Exception):
    """The caller has received the last event of a stream."""


def nothing_to_come(_request: Request, _error: NothingToCome) -> Response:
    return Response(status_code=204)


def _after(last_event_id: str | None) -> str | None:
    """The id to continue after; None for a new caller. Browsers send an empty id if the stream never sent one."""
    try:
        return None if not last_event_id else "-".join(map(str, position(last_event_id)))
    except ValueError as error:
        detail = "The `Last-Event-ID` is not an event id of this service; connect without it."
        raise Refusal(ErrorCode.invalid_cursor, detail) from error


def _while_valid(keys: KeyRing, caller: Caller) -> Allowed:
    """As long as the caller's key is valid: a stream ends with its key."""

    async def allowed() -> bool:
        return await keys.living(caller.key_id) is not None

    return allowed


async def _following_scan(
    scan_id: str,
    caller: MayRead,
    store: TheStore,
    keys: TheKeys,
    streams: TheStreams,
    last_event_id: LastEventId = None,
) -> AsyncIterator[AsyncIterator[ScanChange]]:
    row = await run_in_threadpool(SCANS.known, caller, scan_id, store.row)
    after = _after(last_event_id)
    if after is not None and row.status.final and position(after) >= position(change_of_end(row).id):
        raise NothingToCome
    with streams.slot(caller.key_id):
        yield streams.of_scan(row, after or FROM_THE_START, _while_valid(keys, caller))


async def _following_all(
    caller: MayRead, keys: TheKeys, streams: TheStreams, last_event_id: LastEventId = None
) -> AsyncIterator[tuple[str, AsyncIterator[ScanChange]]]:
    after = _after(last_event_id)
    with streams.slot(caller.key_id):
        stream = events_of_owner(caller.sees_only)
        start = after or await streams.newest(stream)
        yield start, streams.of_all(stream, start, _while_valid(keys, caller))


@router.get(
    "/scans/{scan_id}/events",
    response_class=EventSourceResponse,
    responses=_DOCUMENTED,
    summary="Follow a scan by server-sent events",
)
async def events_of_scan(
    changes: Annotated[AsyncIterator[ScanChange], Depends(_following_scan)],
) -> AsyncIterable[ServerSentEvent]:
    """Starts with the first event of the scan, or after `Last-Event-ID`. The stream ends when the scan ends."""
    yield ServerSentEvent(retry=RECONNECT_MILLISECONDS)
    async for change in changes:
        yield _event(change)


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={200: _DOCUMENTED[200], **problems(400, 429, 503)},
    summary="Follow all of your scans by server-sent events",
)
async def all_events(
    following: Annotated[tuple[str, AsyncIterator[ScanChange]], Depends(_following_all)],
) -> AsyncIterable[ServerSentEvent]:
    """Starts now, or after `Last-Event-ID` among the last 10,000 events. An `admin` key sees all scans."""
    start, changes = following
    # The first message has the start id, so that a client that disconnects before the first event can resume.
    yield ServerSentEvent(retry=RECONNECT_MILLISECONDS, id=start)
    async for change in changes:
        yield _event(change)


def _event(change: ScanChange) -> ServerSentEvent:
    # As Python data, so that FastAPI escapes non-ASCII characters; it would split the line at some, such as U+2028.
    return ServerSentEvent(data=event_view(change).model_dump(mode="json"), event=change.kind, id=change.id)
