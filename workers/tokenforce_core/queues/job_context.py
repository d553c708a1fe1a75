"""What the jobs of a scan inherit from the request that created it: the request id for log lines, and the trace.

Both are fields of the scan's row, so job arguments stay the same and a job that is queued again has them too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from redis import Redis

from tokenforce_core.runtime import tracing
from tokenforce_core.runtime.logs import current_fields, logged_with
from tokenforce_core.runtime.text_redis import text_redis

REQUEST_ID = "request_id"


def request_fields() -> dict[str, str]:
    """Fields of a new scan's row that describe the current request."""
    found = {REQUEST_ID: current_fields().get(REQUEST_ID), tracing.TRACEPARENT: tracing.current_traceparent()}
    return {name: value for name, value in found.items() if value is not None}


@contextmanager
def job_context(connection: Redis, name: str, arguments: Sequence[object]) -> Iterator[None]:
    """Log fields and a span for a job. Its first argument is a scan's id, its second one, if any, a shard."""
    scan_id = str(arguments[0]) if arguments else ""
    shard = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], int) else None
    fields = ["status", REQUEST_ID, tracing.TRACEPARENT]
    status, request_id, parent = text_redis(connection).hmget(f"tf:scan:{scan_id}", fields)
    attributes: dict[str, str | int] = {} if status is None else {"tokenforce.scan_id": scan_id}
    if shard is not None:
        attributes["tokenforce.shard"] = shard
    of_scan = {"scan_id": None if status is None else scan_id, "shard": None if shard is None else str(shard)}
    with logged_with(request_id=request_id, job=name, **of_scan), tracing.span(name, parent, attributes):
        yield
