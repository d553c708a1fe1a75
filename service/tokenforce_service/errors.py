"""Every error leaves the gateway as a problem document (RFC 9457) with a stable `code`."""

from __future__ import annotations

import logging
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException
from tokenforce.types import ErrorCode

from tokenforce_service.refusals import Refusal

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "5"
_FULL = ("OOM", "MISCONF")  # out of memory; cannot write the append-only file


def install(app: FastAPI) -> None:
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RedisError, _store)
    app.add_exception_handler(Exception, _unexpected)


def answer(request: Request, refusal: Refusal, errors: list[dict[str, Any]] | None = None) -> Response:
    problem = refusal.problem(request.url.path, getattr(request.state, "request_id", None))
    if errors:
        problem = problem.model_copy(update={"errors": errors})
    body = problem.model_dump_json(exclude_none=True, exclude=None if errors else {"errors"})
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if refusal.status == 503 else {}
    return Response(body, refusal.status, headers=headers, media_type="application/problem+json")


def _refusal(request: Request, error: Exception) -> Response:
    return answer(request, cast(Refusal, error))


def _validation(request: Request, error: Exception) -> Response:
    found = cast(RequestValidationError, error).errors()
    if any(item["type"] == "json_invalid" for item in found):
        detail = "The body is not valid JSON; send one JSON object."
        return answer(request, Refusal(ErrorCode.invalid_request, detail, status=400))
    errors = [
        {"pointer": "/" + "/".join(str(part) for part in item["loc"]), "detail": str(item["msg"])[:300]}
        for item in found[:20]
    ]
    first = errors[0]
    detail = f"{first['pointer']}: {first['detail']}"
    return answer(request, Refusal(ErrorCode.invalid_request, detail), errors)


def _http(request: Request, error: Exception) -> Response:
    raised = cast(HTTPException, error)
    if raised.status_code == 404:
        refusal = Refusal(ErrorCode.not_found, f"There is no {request.url.path[:200]}; see /docs for the routes.")
    elif raised.status_code == 405:
        refusal = Refusal(
            ErrorCode.method_not_allowed, f"{request.method} is not possible on {request.url.path[:200]}; see /docs."
        )
    elif raised.status_code == 413:
        refusal = Refusal(ErrorCode.body_too_large, str(raised.detail))
    else:
        refusal = Refusal(ErrorCode.invalid_request, str(raised.detail), status=raised.status_code)
    response = answer(request, refusal)
    for name, value in (raised.headers or {}).items():
        response.headers[name] = value
    return response


def _store(request: Request, error: Exception) -> Response:
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        detail = "Redis cannot be reached; nothing was lost, try again shortly."
        return answer(request, Refusal(ErrorCode.store_unavailable, detail))
    if isinstance(error, ResponseError) and str(error).startswith(_FULL):
        detail = "Redis cannot store more (disk or memory full); free some space and try again."
        return answer(request, Refusal(ErrorCode.storage_full, detail))
    return _unexpected(request, error)


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error on %s %s", request.method, request.url.path, exc_info=error)
    detail = "Something unexpected happened; the log has it under this request_id."
    return answer(request, Refusal(ErrorCode.internal_error, detail))
