"""What a call to the service is: one request, and how to read its answer. Nothing here does I/O."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from tokenforce.sdk.errors import (
    ApiError,
    InvalidRequest,
    ServerError,
    ServiceUnavailable,
    UnexpectedAnswer,
    error_from_problem,
)
from tokenforce.wire.problems import ErrorCode, Problem, message_of

T_co = TypeVar("T_co", covariant=True)
Item_co = TypeVar("Item_co", covariant=True)
Model = TypeVar("Model", bound=BaseModel)

TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
"""HTTP statuses that may change soon: the same request is worth sending again."""


class Page(Protocol[Item_co]):
    """A part of a list, and the cursor of the next part; None after the last one."""

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
    """The body as bytes, when a signature covers them; instead of `json`."""
    attempts: int = 5


# --- requests ---------------------------------------------------------------------------------------


def checked(form: type[Model], given: Mapping[str, Any]) -> Model:
    """`given` as this type of request. Raises `InvalidRequest`, as the service would; it quotes no value."""
    try:
        return form.model_validate(given)
    except ValidationError as error:
        raise _invalid(error) from None  # a traceback would quote what was given, perhaps a secret


def once() -> dict[str, str]:
    """The header that makes a POST safe to send again: the service carries it out once.

    A structured-field string (draft-ietf-httpapi-idempotency-key-header-07).
    """
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


def path_of_one(collection: str, name: str, kind: str) -> str:
    """The path of one thing; its id stays one segment.

    Raises `InvalidRequest` for an empty id: that path would be the collection's.
    """
    if not name:
        raise InvalidRequest(f"the {kind} id is empty", status=422, code=ErrorCode.invalid_request)
    return f"{collection}/{quote(name, safe='')}"


def page_params(page_size: int | None) -> dict[str, str | int]:
    """The query of a list's first page."""
    return {} if page_size is None else {"limit": page_size}


def next_page(call: Call[Page[Item_co]], page: Page[Item_co]) -> Call[Page[Item_co]] | None:
    """The call for the page after this one; None after the last."""
    if not page.next_cursor:
        return None
    if page.next_cursor == call.params.get("cursor"):
        raise UnexpectedAnswer("the service sends the same page again and again", status=200, code="unexpected_answer")
    return replace(call, params={**call.params, "cursor": page.next_cursor})


# --- answers ----------------------------------------------------------------------------------------


def reader(model: type[Model]) -> Callable[[httpx.Response], Model]:
    """Reads an answer as this model."""
    return lambda response: read_answer(response, model)


def read_answer(response: httpx.Response, model: type[Model]) -> Model:
    """The model in an answer. Raises the typed error of an error answer."""
    if not response.is_success:
        raise error_of(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise UnexpectedAnswer(
            f"the answer of {place_of(response)} is not a {model.__name__}: is this a tokenforce service?",
            status=response.status_code,
            code="unexpected_answer",
            request_id=response.headers.get("x-request-id"),
        ) from error


def nothing(response: httpx.Response) -> None:
    """Reads an answer without content. Raises the typed error of an error answer."""
    if not response.is_success:
        raise error_of(response)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds of the `Retry-After` header; None without one. A date counts as none."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def place_of(response: httpx.Response) -> httpx.URL:
    """The address that answered, without user and password."""
    return response.request.url.copy_with(userinfo=b"")


def error_of(response: httpx.Response) -> ApiError:
    """The typed error of an error answer."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _error_without_problem(response)
    return error_from_problem(problem, retry_after=retry_after(response))


def _error_without_problem(response: httpx.Response) -> ApiError:
    """Something else answered: a proxy without its upstream, or not a tokenforce service at all."""
    status = response.status_code
    kind: type[ApiError] = UnexpectedAnswer
    if status in TRANSIENT_STATUSES:
        kind = ServiceUnavailable
    elif status >= 500:
        kind = ServerError
    return kind(
        f"{place_of(response)} answered {status} {response.reason_phrase}, not as a tokenforce service does",
        status=status,
        code=f"http_{status}",
        request_id=response.headers.get("x-request-id"),
        retry_after=retry_after(response),
    )


def _invalid(error: ValidationError) -> InvalidRequest:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(str(part) for part in item['loc'])}: {message_of(item)}" for item in errors]
    found = [dict(item) for item in errors]
    return InvalidRequest("; ".join(lines), status=422, code=ErrorCode.invalid_request, errors=found)
