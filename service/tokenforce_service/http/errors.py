"""Every error leaves the gateway as a problem document (RFC 9457) with a stable `code`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from tokenforce.wire.problems import ErrorCode, message_of
from tokenforce_service.http.openapi import PROBLEM
from tokenforce_service.refusals import Refusal, one_line, without_secrets

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "5"
_CANNOT_WRITE = "MISCONF"
"""How Redis begins its errors while it cannot write to its disk; redis-py has no class for them."""
_PLAINER = {
    "extra_forbidden": "There is no such field; see /docs for all fields.",
    "missing": "This field is missing; add it.",
}


E = TypeVar("E", bound=Exception)


def handle(app: FastAPI, kind: type[E], handler: Callable[[Request, E], Response]) -> None:
    """Answer exceptions of this class by `handler`."""
    app.add_exception_handler(kind, handler)  # type: ignore[arg-type]  # it is called with these only


def install(app: FastAPI) -> None:
    handle(app, Refusal, answer)
    handle(app, RequestValidationError, _validation)
    handle(app, HTTPException, _http)
    handle(app, RedisError, store_failed)
    handle(app, ClientDisconnect, _half_a_body)


def answer(request: Request, refusal: Refusal, errors: list[dict[str, Any]] | None = None) -> Response:
    problem = refusal.problem(quote(request.scope["path"]), getattr(request.state, "request_id", None))
    if errors:
        problem = problem.model_copy(update={"errors": errors})
    body = problem.model_dump_json(exclude_none=True, exclude=None if errors else {"errors"})
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if refusal.status == 503 else {}
    headers |= refusal.headers
    return Response(body, refusal.status, headers=headers, media_type=PROBLEM)


def _validation(request: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        detail = "The body is not valid JSON; send one JSON object."
        return answer(request, Refusal(ErrorCode.invalid_request, detail, status=400))
    # A value error there is a rule for the whole object, such as "either this field or that one".
    if any(item["loc"] == ("body",) and item["type"] != "value_error" for item in found):
        detail = "The body is not a JSON object; send one, with `Content-Type: application/json`."
        return answer(request, Refusal(ErrorCode.invalid_request, detail))
    errors = [
        {
            "pointer": "/" + "/".join(str(part) for part in item["loc"]),
            "detail": _PLAINER.get(item["type"], message_of(item)[:300]),
        }
        for item in found[:20]
    ]
    first = errors[0]
    detail = f"{first['pointer']}: {first['detail'].rstrip('.')}."
    return answer(request, Refusal(ErrorCode.invalid_request, detail), errors)


def _http(request: Request, raised: HTTPException) -> Response:
    path = request.scope["path"][:200]
    if raised.status_code == 404:
        refusal = Refusal(ErrorCode.not_found, f"There is no {path}; see /docs for the routes.")
    elif raised.status_code == 405:
        refusal = Refusal(ErrorCode.method_not_allowed, f"{path} does not support {request.method}; see /docs.")
    elif raised.status_code == 400:  # raised by the framework for a body that its JSON parser cannot read
        detail = "The body cannot be read as JSON (not UTF-8, or nested too deeply); send one JSON object."
        refusal = Refusal(ErrorCode.invalid_request, detail, status=400)
    elif raised.status_code == 408:
        refusal = Refusal(ErrorCode.body_too_slow, str(raised.detail))
    elif raised.status_code == 413:
        refusal = Refusal(ErrorCode.body_too_large, str(raised.detail))
    else:
        refusal = Refusal(ErrorCode.invalid_request, str(raised.detail), status=raised.status_code)
    response = answer(request, refusal)
    for name, value in (raised.headers or {}).items():
        response.headers[name] = value
    if raised.status_code == 405:
        response.headers["Allow"] = _allowed(request)
    return response


def _half_a_body(request: Request, _: ClientDisconnect) -> Response:
    """The client has gone and does not read this answer, but it is logged and counted for the address."""
    detail = "The connection ended before the whole body arrived; send the request again."
    return answer(request, Refusal(ErrorCode.invalid_request, detail, status=400))


def _allowed(request: Request) -> str:
    """The methods of the path (RFC 9110, 15.5.6). The router names only those of the first route that it tried."""
    of_path = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    # `/v1/hooks/upload` also matches `/v1/hooks/{hook_id}`; the first route counts.
    methods = [route.methods for route in of_path if route.path == of_path[0].path]
    return ", ".join(sorted(set().union(*methods)))


def store_failed(request: Request, error: Exception) -> Response:
    """The answer while Redis cannot be used."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        detail = "Redis cannot be reached; nothing was lost. Try again shortly."
        return answer(request, Refusal(ErrorCode.store_unavailable, detail))
    if isinstance(error, OutOfMemoryError) or _CANNOT_WRITE in str(error):
        detail = "Redis cannot store more (disk or memory full); free some space and try again."
        return answer(request, Refusal(ErrorCode.storage_full, detail))
    return unexpected(request, error)


def unexpected(request: Request, error: Exception) -> Response:
    """The answer to an unexpected error; the caller learns only where to find it in the log."""
    name, path = getattr(request.state, "request_id", None), one_line(without_secrets(request.scope["path"]))
    log.error("%s unexpected error on %s %s", name, request.method, path, exc_info=error)
    detail = "Something unexpected happened; the service's log has details under this request_id."
    return answer(request, Refusal(ErrorCode.internal_error, detail))
