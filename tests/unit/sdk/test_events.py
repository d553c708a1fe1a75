"""The parser of server-sent events, on streams that are cut anywhere."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tokenforce.sdk.events import EventParser, ServerSentEvent

LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=12)
EVENTS = st.lists(
    st.builds(ServerSentEvent, event=LINE.filter(bool), data=LINE | st.just("a\nb\n\nc"), id=LINE), max_size=5
)


def written(events: list[ServerSentEvent], line_end: str, comment: str) -> bytes:
    """As a service would send them; the data line by line."""
    lines = [f": {comment}"]
    for event in events:
        data = [f"data: {line}" for line in event.data.split("\n")]
        lines += [f"id: {event.id}", f"event: {event.event}", *data, "retry: 10", "unknown: x", "noise", ""]
    return "".join(line + line_end for line in lines).encode()


def parsed(stream: bytes, cuts: list[int]) -> list[ServerSentEvent]:
    parser, found = EventParser(), []
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, stop in pairwise(places):
        found += list(parser.feed(stream[start:stop]))
    return found


@given(EVENTS, st.sampled_from(["\n", "\r\n", "\r"]), LINE, st.lists(st.integers(0, 10_000), max_size=20))
def test_what_is_sent_arrives_however_it_is_cut(
    events: list[ServerSentEvent], line_end: str, comment: str, cuts: list[int]
) -> None:
    assert parsed(written(events, line_end, comment), cuts) == events


def test_a_byte_at_a_time() -> None:
    stream = "\ufeffdata: ä\u2028ö\r\n\r\n: ping\r\n\r\nid: 7\r\n\r\ndata:x\r\n\r\ndata: half".encode()
    assert parsed(stream, list(range(len(stream)))) == [
        ServerSentEvent("message", "ä\u2028ö", ""),
        ServerSentEvent("message", "", ""),
        ServerSentEvent("message", "", "7"),
        ServerSentEvent("message", "x", "7"),
    ]


def test_an_id_with_a_null_byte_is_ignored() -> None:
    assert parsed(b"id: 1\nid: 2\0\ndata: x\n\n", []) == [ServerSentEvent("message", "x", "1")]
