"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a POST that is sent twice happens once.

A route that creates something takes `new_id: NewId` after its caller, whose owner then stands in `request.state.owner`,
and uses it as the id of what it makes; a route whose answer shows a secret takes `NewSecretId`. `KeepsAnswers` stores
the answer for a day, 4xx answers too, as they are the answer to that request. It does not store 429 and 5xx: the next
attempt runs, with the same id.

A secret is never stored: its repetition is answered by 409, which names what was made.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenforce.wire.problems import ErrorCode
from tokenforce_service.http.dependencies import provided
from tokenforce_service.http.idempotency_store import DifferentRequest, IdempotencyStore, InFlight, Lease, StoredAnswer
from tokenforce_service.refusals import Refusal

log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_KEPT_HEADERS = ("content-type", "location", "retry-after")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_Given = Annotated[
    str | None,
    Header(
        alias=HEADER,
        description="1 to 255 visible ASCII characters, such as a new UUID. If you repeat the key with the same "
        "body within a day, you get the first answer.",
    ),
]


class Replayed(Exception):
    """The request was carried out before, and this was its answer. Not an error."""

    def __init__(self, answer: StoredAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True)
class _Pending:
    """A request that is being carried out under a lease."""

    lease: Lease
    secret: bool


_TheAnswers = Annotated[IdempotencyStore, provided(IdempotencyStore)]


async def _new_id(request: Request, answers: _TheAnswers, _declared: _Given = None) -> str:
    return await _begin(request, answers, secret=False)


async def _new_secret_id(request: Request, answers: _TheAnswers, _declared: _Given = None) -> str:
    return await _begin(request, answers, secret=True)


NewId = Annotated[str, Depends(_new_id)]
"""16 hex digits: new ones, or those of an earlier attempt at this request."""
NewSecretId = Annotated[str, Depends(_new_secret_id)]
"""As `NewId`, where the answer shows a secret."""


def shown_once(response: Response, location: str) -> None:
    """Set the headers of an answer that shows a secret: what it belongs to, and that no cache may keep it."""
    response.headers["Location"] = location
    response.headers["Cache-Control"] = "no-store"


async def _begin(request: Request, answers: IdempotencyStore, *, secret: bool) -> str:
    values = request.headers.getlist(HEADER)
    if not values:
        return secrets.token_hex(8)
    key = _parse(values)
    owner: str = request.state.owner  # set with the caller, who comes first
    digest = _digest(request, await request.body())
    try:
        found = await run_in_threadpool(answers.begin, owner, key, digest)
    except DifferentRequest as error:
        detail = "You used this Idempotency-Key for another request; send a new key with a new request."
        raise Refusal(ErrorCode.idempotency_key_reused, detail) from error
    if isinstance(found, InFlight):
        detail = "The first request with this Idempotency-Key is still running; send it again to get its answer."
        raise Refusal(ErrorCode.idempotency_in_flight, detail, headers={"Retry-After": str(min(found.seconds, 2))})
    if isinstance(found, StoredAnswer):
        if found.secret:
            made = found.headers.get("location", "it")
            detail = f"This was done before and made {made}. Its secret was shown once; if it is lost, create another."
            raise Refusal(ErrorCode.already_created, detail, headers=_location(found))
        raise Replayed(found)
    request.state.idempotency = _Pending(found, secret)
    return found.seed


def _parse(values: list[str]) -> str:
    """The key: a structured-field string, as in the draft, or the bare characters, as most senders send it."""
    key = values[0].strip()
    if key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if len(values) > 1 or not _VISIBLE.fullmatch(key):
        detail = f"{HEADER} must be one value of 1 to 255 visible ASCII characters; send a new UUID."
        raise Refusal(ErrorCode.invalid_idempotency_key, detail)
    return key


def _digest(request: Request, body: bytes) -> str:
    whole = hashlib.sha256()
    for part in (request.method.encode(), request.url.path.encode(), request.url.query.encode(), body):
        whole.update(b"%d:%b" % (len(part), part))
    return whole.hexdigest()


def _location(answer: StoredAnswer) -> dict[str, str]:
    return {"Location": answer.headers["location"]} if "location" in answer.headers else {}


def replay(_request: Request, replayed: Replayed) -> Response:
    """The stored answer; the app's handler of `Replayed`."""
    answer = replayed.answer
    return Response(answer.body, answer.status, headers={**answer.headers, REPLAYED: "true"})


class KeepsAnswers:
    """Stores the answer to a request with an idempotency key before it is sent."""

    def __init__(self, app: ASGIApp, store: IdempotencyStore) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: dict[str, Any] = scope.setdefault("state", {})
        start: Message | None = None
        body = b""

        async def kept(message: Message) -> None:
            nonlocal start, body
            if "idempotency" not in state:
                await send(message)
            elif message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body" and start is not None:
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    await self._end(state.pop("idempotency"), start, body)
                    await send(start)
                    await send({"type": "http.response.body", "body": body})

        try:
            await self._app(scope, receive, kept)
        finally:
            if "idempotency" in state:  # there was no answer: the next attempt need not wait
                await self._end(state.pop("idempotency"), None, b"")

    async def _end(self, pending: _Pending, start: Message | None, body: bytes) -> None:
        answer = None
        if start is not None and start["status"] != 429 and start["status"] < 500:
            sent = Headers(raw=start["headers"])
            headers = {name: sent[name] for name in _KEPT_HEADERS if name in sent}
            secret = pending.secret and start["status"] < 300
            answer = StoredAnswer(start["status"], headers, b"" if secret else body, secret)
        try:
            await run_in_threadpool(self._store.end, pending.lease, answer)
        except RedisError as error:
            # The request was carried out. A repetition waits for the lease and then finds the result, by the same id.
            log.warning("cannot store an answer for repetition: %s", error)
