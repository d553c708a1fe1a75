"""What each request gets: a request id, a count and a log line."""

from __future__ import annotations

import logging
import time
import uuid

from opentelemetry.trace import Span, SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenforce_core.runtime import logs, tracing
from tokenforce_service.http import errors
from tokenforce_service.monitoring.metrics import METHODS, Metrics
from tokenforce_service.refusals import one_line, without_secrets

log = logging.getLogger("tokenforce_service.access")


class Observed:
    """Gives each request an id (or keeps the caller's), counts it and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        usable = 0 < len(given) <= 64 and given.replace("-", "").replace("_", "").isalnum() and given.isascii()
        request_id = given if usable else f"req_{uuid.uuid4().hex[:16]}"
        scope.setdefault("state", {})["request_id"] = request_id
        method = scope["method"] if scope["method"] in METHODS else "other"
        with (
            logs.logged_with(request_id=request_id),
            tracing.span(method, headers.get(tracing.TRACEPARENT), kind=SpanKind.SERVER) as span,
        ):
            await self._observed(scope, receive, send, span)

    async def _observed(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        request_id, method = scope["state"]["request_id"], scope["method"]
        started, status, begun = time.perf_counter(), 500, False

        async def tagged(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, tagged)
        # Answered here: outside of this, the server would drop the connection and the request id.
        except Exception as error:
            if begun:
                raise
            await errors.unexpected(Request(scope), error)(scope, receive, tagged)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.observe(method, route, status, seconds)
            span.update_name(f"{method} {route}" if method in METHODS else route)
            span.set_attributes({"http.route": route, "http.response.status_code": status})
            if status >= 500:
                tracing.failed(span)
            path, milliseconds = one_line(without_secrets(scope["path"])), round(seconds * 1000, 1)
            fields = {"method": one_line(method), "path": path, "status": status, "milliseconds": milliseconds}
            log.info("%s %s %d %.1f ms", one_line(method), path, status, milliseconds, extra=fields)
