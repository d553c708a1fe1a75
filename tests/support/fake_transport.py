"""Scripted answers for the SDK without a socket, one shell around both clients, and a clock of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx

from tokenforce import AsyncClient, Client

URL = "http://service.test"
Handler = Callable[[httpx.Request], httpx.Response]


def scan(status: str = "sweeping", *, done: int = 0, scan_id: str = "s1", **more: Any) -> dict[str, Any]:
    return {
        "id": scan_id,
        "status": status,
        "model": "org/model",
        "request": {"model": "org/model"},
        "progress": {"stage": status, "done": done, "total": 100},
        "created_at": "2026-01-01T00:00:00Z",
        "a_field_of_a_newer_service": True,
        **more,
    }


def problem(status: int, code: str, detail: str = "do this", **headers: str) -> httpx.Response:
    body = {"title": "no", "status": status, "detail": detail, "code": code, "request_id": "r-1"}
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json", **headers})


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


class Shell:
    """Calls `client.PART.NAME(...)` of one of the two clients; iterators come back as lists."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.part = "scans"
        self.requests: list[httpx.Request] = []

    def __call__(self, handler: Handler, name: str, /, *args: Any, **options: Any) -> Any:
        def record(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return handler(request)

        transport = httpx.MockTransport(record)
        if self._kind == "async":
            return asyncio.run(self._call_async(transport, name, args, options))
        with httpx.Client(transport=transport) as http_client, Client(URL, http_client=http_client) as client:
            result = getattr(getattr(client, self.part), name)(*args, **options)
            return list(result) if isinstance(result, Iterator) else result

    async def _call_async(self, transport: httpx.MockTransport, name: str, args: Any, options: Any) -> Any:
        async with (
            httpx.AsyncClient(transport=transport) as http_client,
            AsyncClient(URL, http_client=http_client) as client,
        ):
            result = getattr(getattr(client, self.part), name)(*args, **options)
            if isinstance(result, AsyncIterator):
                return [item async for item in result]
            return await result


def answers(*responses: httpx.Response | Exception) -> Handler:
    """Answers in this order; one request more is a failure of the test."""
    left = list(responses)

    def handler(_request: httpx.Request) -> httpx.Response:
        response = left.pop(0)
        if isinstance(response, Exception):
            raise response
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)

    return handler
