"""What both clients send, and how they read the answers.

Nothing here does I/O, so `client.py` and `aio.py` stay thin shells that differ in `await` alone.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from tokenforce.sdk.errors import (
    ApiError,
    InvalidRequest,
    NotConfigured,
    ServerError,
    ServiceUnavailable,
    UnexpectedAnswer,
    error_from_problem,
)
from tokenforce.wire.problems import ErrorCode, Problem
from tokenforce.wire.report import Report
from tokenforce.wire.scans import FindingsPage, Scan, ScanPage, ScanRequest

T_co = TypeVar("T_co", covariant=True)
Item_co = TypeVar("Item_co", covariant=True)
Model = TypeVar("Model", bound=BaseModel)

URL_VARIABLE = "TOKENFORCE_URL"
TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
"""Answers that may be another one a little later."""


class Page(Protocol[Item_co]):
    """A part of a list, and where the next one begins; None after the last."""

    @property
    def items(self) -> Sequence[Item_co]: ...

    @property
    def next_cursor(self) -> str | None: ...


@dataclass(frozen=True)
class Call(Generic[T_co]):
    """One request to the service, and how to read its answer."""

    method: str
    path: str
    parse: Callable[[httpx.Response], T_co]
    params: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    """A body as it is, where its bytes are signed; instead of `json`."""
    attempts: int = 5


def service_url(url: str | None, http_client_url: str = "") -> str:
    """The address to talk to: the one given, that of the http client, or `TOKENFORCE_URL`."""
    found = url or http_client_url or os.environ.get(URL_VARIABLE, "")
    if not found:
        raise NotConfigured(f"no service address: give one, or set {URL_VARIABLE} (`tokenforce up` prints it)")
    try:
        parsed = httpx.URL(found)
    except httpx.InvalidURL as error:
        raise NotConfigured(f"{found!r} is not an address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise NotConfigured(f"{found!r} is not an http(s) address such as http://127.0.0.1:8000")
    return found.rstrip("/")


def on_this_machine(url: str) -> bool:
    """Whether the address is a loopback one, which no configured proxy can reach."""
    return httpx.URL(url).host in ("localhost", "127.0.0.1", "::1")


# --- requests ---------------------------------------------------------------------------------------


def scan_request(**options: Any) -> ScanRequest:
    """The body of a new scan; raises `InvalidRequest` as the service would."""
    try:
        return ScanRequest.model_validate(options)
    except ValidationError as error:
        raise invalid(error) from error


def create(request: ScanRequest) -> Call[Scan]:
    """Queue a scan."""
    body = request.model_dump(mode="json", exclude_none=True)
    return Call("POST", "/v1/scans", reader(Scan), json=body, headers=once())


def once() -> dict[str, str]:
    """The header with which a POST may be sent again: however often it arrives, it is carried out once.

    A structured-field string (draft-ietf-httpapi-idempotency-key-header-07).
    """
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


def list_scans(
    *, status: Sequence[str] = (), model: str | None = None, since: datetime | None = None, page_size: int | None
) -> Call[ScanPage]:
    params: dict[str, str | int | list[str]] = {**page_params(page_size)}
    if status:
        params["status"] = [str(each) for each in ([status] if isinstance(status, str) else status)]
    if model is not None:
        params["model"] = model
    if since is not None:
        # Without an offset it is this machine's time, as everywhere in Python; the service would take it for UTC.
        params["since"] = since.astimezone(UTC).isoformat()
    return Call("GET", "/v1/scans", reader(ScanPage), params=params)


def get(scan_id: str) -> Call[Scan]:
    return Call("GET", scan_path(scan_id), reader(Scan))


def findings(scan_id: str, *, order: str | None, page_size: int | None) -> Call[FindingsPage]:
    params = {**({"order": str(order)} if order else {}), **page_params(page_size)}
    return Call("GET", f"{scan_path(scan_id)}/findings", reader(FindingsPage), params=params)


def report(scan_id: str) -> Call[Report]:
    return Call("GET", f"{scan_path(scan_id)}/report", reader(Report))


def cancel(scan_id: str) -> Call[Scan]:
    return Call("DELETE", scan_path(scan_id), reader(Scan))


def next_page(call: Call[Page[Item_co]], page: Page[Item_co]) -> Call[Page[Item_co]] | None:
    """The call for the page after this one; None after the last."""
    if not page.next_cursor:
        return None
    if page.next_cursor == call.params.get("cursor"):
        raise UnexpectedAnswer("the service sends the same page again and again", status=200, code="unexpected_answer")
    return replace(call, params={**call.params, "cursor": page.next_cursor})


# --- answers ----------------------------------------------------------------------------------------


def read_answer(response: httpx.Response, model: type[Model]) -> Model:
    """The model in an answer, or the typed error that the answer is."""
    if not response.is_success:
        raise error_of(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise UnexpectedAnswer(
            f"the answer of {response.request.url} is not a {model.__name__}: is this a tokenforce service?",
            status=response.status_code,
            code="unexpected_answer",
            request_id=response.headers.get("x-request-id"),
        ) from error


def retry_after(response: httpx.Response) -> float | None:
    """Seconds of the `Retry-After` header; None without one (a date counts as none)."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


# --- pieces -----------------------------------------------------------------------------------------


def reader(model: type[Model]) -> Callable[[httpx.Response], Model]:
    """What reads an answer as this model."""
    return lambda response: read_answer(response, model)


def scan_path(scan_id: str) -> str:
    return path_of_one("/v1/scans", scan_id, "scan")


def path_of_one(collection: str, name: str, kind: str) -> str:
    """Raises `InvalidRequest` for an empty id, whose path would be the collection's; any other stays one segment."""
    if not name:
        raise InvalidRequest(f"the {kind} id is empty", status=422, code=ErrorCode.invalid_request)
    return f"{collection}/{quote(name, safe='')}"


def nothing(response: httpx.Response) -> None:
    """What reads an answer that has nothing to say but that it was done."""
    if not response.is_success:
        raise error_of(response)


def page_params(page_size: int | None) -> dict[str, str | int]:
    """The query of a list's first page."""
    return {} if page_size is None else {"limit": page_size}


def invalid(error: ValidationError) -> InvalidRequest:
    """The error for options that the wire types refuse; it does not quote them."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in errors]
    found = [dict(item) for item in errors]
    return InvalidRequest("; ".join(lines), status=422, code=ErrorCode.invalid_request, errors=found)


def error_of(response: httpx.Response) -> ApiError:
    """The typed error that an answer is."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _error_without_problem(response)
    return error_from_problem(problem, retry_after=retry_after(response))


def _error_without_problem(response: httpx.Response) -> ApiError:
    """Something in between answered: a proxy whose upstream is gone, or not our service at all."""
    status = response.status_code
    kind: type[ApiError] = UnexpectedAnswer
    if status in TRANSIENT_STATUSES:
        kind = ServiceUnavailable
    elif status >= 500:
        kind = ServerError
    return kind(
        f"{response.request.url} answered {status} {response.reason_phrase}, not as a tokenforce service does",
        status=status,
        code=f"http_{status}",
        request_id=response.headers.get("x-request-id"),
        retry_after=retry_after(response),
    )
