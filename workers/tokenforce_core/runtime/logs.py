"""Log lines as JSON objects, or as text for people, with the request and scan that they belong to."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from tokenforce_core.runtime import tracing

LogFormat = Literal["json", "text"]
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_fields: ContextVar[Mapping[str, str]] = ContextVar("fields_of_log_lines")
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextmanager
def logged_with(**fields: str | None) -> Iterator[None]:
    """Add these fields to every line that this thread or task logs inside; None adds nothing."""
    known = {name: value for name, value in fields.items() if value is not None}
    token = _fields.set({**current_fields(), **known})
    try:
        yield
    finally:
        _fields.reset(token)


def current_fields() -> Mapping[str, str]:
    return _fields.get({})


def configure(style: LogFormat) -> None:
    """Send every log line of this process to stderr, in this style; for the entry points of processes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("httpx", "httpx2"):  # they log whole addresses, which may contain secrets of other services
        logging.getLogger(library).setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """`ts` (RFC 3339, UTC), `level`, `logger`, `message`, then the fields of `logged_with` and of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **current_fields(),
        }
        if (trace_id := tracing.current_trace_id()) is not None:
            line["trace_id"] = trace_id
        line |= {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES and _plain(value)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextLines(logging.Formatter):
    """The usual line, followed by the fields of `logged_with`."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in current_fields().items())
        line = super().formatMessage(record)
        return f"{line} [{fields}]" if fields else line


def _plain(value: object) -> bool:
    """Libraries attach whole objects to their records, whose text may hold anything."""
    return isinstance(value, str | int | float | bool)
