"""Sends calls to one service: its address, the key, retries, pages and streams. The only code of the SDK that does I/O.

`AsyncTransport` is `Transport` with `await`.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar

import httpx

from tokenforce.sdk.calls import Call, Page, next_page
from tokenforce.sdk.errors import NotConfigured
from tokenforce.sdk.retries import Attempts
from tokenforce.sdk.version import USER_AGENT

T = TypeVar("T")
Item = TypeVar("Item")

URL_VARIABLE = "TOKENFORCE_URL"
KEY_VARIABLE = "TOKENFORCE_KEY"
_HEADER = "Authorization"
_USER = re.compile(r"[^/]*@")
"""User and password before a host."""


class _Service:
    """Which service a client talks to, and with which key."""

    def __init__(self, url: str | None, key: str | None, http_client: httpx.Client | httpx.AsyncClient | None) -> None:
        self.url = service_url(url, str(http_client.base_url) if http_client else "")
        self.place = str(httpx.URL(self.url).copy_with(userinfo=b""))
        """The address without user and password, for messages."""
        self._authorization = authorization(key, http_client.headers if http_client else None)

    def _options(self, timeout: float) -> dict[str, Any]:
        """For an http client of our own. A configured proxy cannot reach this machine's loopback addresses."""
        local = httpx.URL(self.url).host in ("localhost", "127.0.0.1", "::1")
        return {"timeout": timeout, "headers": {"User-Agent": USER_AGENT}, "trust_env": not local}

    def _request(self, call: Call[T]) -> dict[str, Any]:
        return {
            "method": call.method,
            "url": self.url + call.path,
            "params": call.params,
            "headers": {**self._authorization, **call.headers},
            "json": call.json,
            "content": call.content,
        }


class Transport(_Service):
    """Sends calls to one service. See `Client` for the arguments."""

    def __init__(self, url: str | None, *, key: str | None, http_client: httpx.Client | None, timeout: float) -> None:
        super().__init__(url, key, http_client)
        self._owned = http_client is None
        self._http = http_client or httpx.Client(**self._options(timeout))

    def send(self, call: Call[T], deadline: float = math.inf) -> T:
        """The answer to a call, which is sent again while that can help, until `deadline` on the monotonic clock."""
        attempts = Attempts(call, deadline)
        while True:
            try:
                response = self._http.request(**self._request(call))
            except httpx.RequestError as error:
                self.pause(attempts.after_failure(error, self.place))
                continue
            pause = attempts.after_answer(response)
            if pause is None:
                return attempts.read(response)
            self.pause(pause)

    def items(self, call: Call[Page[Item]]) -> Iterator[Item]:
        """The items of a list, fetched page by page."""
        following: Call[Page[Item]] | None = call
        while following is not None:
            page = self.send(following)
            yield from page.items
            following = next_page(following, page)

    def stream(self, call: Call[None], silence: float) -> AbstractContextManager[httpx.Response]:
        """One connection that stays open until it is silent for `silence` seconds."""
        return self._http.stream(**self._request(call), timeout=_timeout(self._http.timeout, silence))

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        """Closes the connections, unless the http client is the caller's."""
        if self._owned:
            self._http.close()


class AsyncTransport(_Service):
    """`Transport` with `await`."""

    def __init__(
        self, url: str | None, *, key: str | None, http_client: httpx.AsyncClient | None, timeout: float
    ) -> None:
        super().__init__(url, key, http_client)
        self._owned = http_client is None
        self._http = http_client or httpx.AsyncClient(**self._options(timeout))

    async def send(self, call: Call[T], deadline: float = math.inf) -> T:
        """As `Transport.send`, with `await`."""
        attempts = Attempts(call, deadline)
        while True:
            try:
                response = await self._http.request(**self._request(call))
            except httpx.RequestError as error:
                await self.pause(attempts.after_failure(error, self.place))
                continue
            pause = attempts.after_answer(response)
            if pause is None:
                return attempts.read(response)
            await self.pause(pause)

    async def items(self, call: Call[Page[Item]]) -> AsyncIterator[Item]:
        """As `Transport.items`, with `async for`."""
        following: Call[Page[Item]] | None = call
        while following is not None:
            page = await self.send(following)
            for item in page.items:
                yield item
            following = next_page(following, page)

    def stream(self, call: Call[None], silence: float) -> AbstractAsyncContextManager[httpx.Response]:
        """As `Transport.stream`, with `async with`."""
        return self._http.stream(**self._request(call), timeout=_timeout(self._http.timeout, silence))

    async def pause(self, seconds: float) -> None:
        import asyncio  # not above: the command line starts faster without it

        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """As `Transport.close`, with `await`."""
        if self._owned:
            await self._http.aclose()


def service_url(url: str | None, http_client_url: str = "") -> str:
    """The address of the service: the one given, that of the http client, or `TOKENFORCE_URL`.

    Raises `NotConfigured` if there is none, or it is not an http(s) address.
    """
    found = url or http_client_url or os.environ.get(URL_VARIABLE, "")
    if not found:
        raise NotConfigured(f"no service address: give one, or set {URL_VARIABLE} (`tokenforce up` prints it)")
    try:
        parsed = httpx.URL(found)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        shown = _USER.sub("", found)
        raise NotConfigured(f"{shown!r} is not an http(s) address such as http://127.0.0.1:8000")
    return found.rstrip("/")


def authorization(key: str | None, http_client_headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """The header `Authorization: Bearer tf_…` (RFC 6750): the key given, else `TOKENFORCE_KEY`.

    Empty if there is no key: the service then answers that it needs one. Also empty if no key is given and the http
    client sends this header itself.

    Raises:
        NotConfigured: the text cannot be a key; the message does not quote it.
    """
    if key is None and http_client_headers is not None and _HEADER in http_client_headers:
        return {}
    source = "the key" if key is not None else KEY_VARIABLE
    found = (key if key is not None else os.environ.get(KEY_VARIABLE, "")).strip()
    if not found:
        return {}
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise NotConfigured(f"{source} is not a key such as tf_…: it has characters that no key has")
    return {_HEADER: f"Bearer {found}"}


def _timeout(usual: httpx.Timeout, silence: float) -> httpx.Timeout:
    return httpx.Timeout(connect=usual.connect, read=silence, write=usual.write, pool=usual.pool)
