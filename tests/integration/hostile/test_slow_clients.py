"""Requests that arrive slowly or never end, as bytes on a connection."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.hostile.conftest import RECEIVE_SECONDS
from tests.support.refusing_service import Service
from tokenforce_service.http.request_limits import ANSWERED_SECONDS

PATIENCE = 60.0
"""Seconds that a loaded machine may take."""


@pytest.fixture
def line(service: Service) -> Iterator[socket.socket]:
    url = service.http.base_url
    with socket.create_connection((url.host, url.port or 80), PATIENCE) as connection:
        yield connection


def head(service: Service, *headers: str) -> bytes:
    lines = ["POST /v1/scans HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Authorization: {service.http.headers['Authorization']}", "", ""]).encode()


def ended(line: socket.socket) -> bytes:
    """All that still comes before the service ends the connection."""
    got = b""
    try:
        while part := line.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    return got


def dripped(service: Service, line: socket.socket, drop: bytes) -> bytes:
    """Send a drop every half second until the service has enough, and look that it serves others meanwhile."""
    started = time.monotonic()
    line.settimeout(0.5)
    got = b""
    while time.monotonic() - started < PATIENCE:
        try:
            line.sendall(drop)
            part = line.recv(65536)
        except TimeoutError:
            assert service.http.get("/healthz").status_code == 200
            continue
        except (ConnectionResetError, BrokenPipeError):
            break
        if not part:
            break
        got += part
    assert time.monotonic() - started < PATIENCE
    return got


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_slow_body(service: Service, line: socket.socket, framing: str) -> None:
    """Cut off in all, not per byte, and told so."""
    line.sendall(head(service, framing))
    answer = dripped(service, line, b"1\r\n \r\n" if "chunked" in framing else b" ")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_too_slow"' in answer
    service.accepted()


def test_body_that_stops(service: Service, line: socket.socket) -> None:
    line.sendall(head(service, "Transfer-Encoding: chunked") + b"1\r\n{\r\n")
    assert ended(line).startswith(b"HTTP/1.1 408 ")


def test_slow_headers(service: Service, line: socket.socket) -> None:
    line.sendall(b"GET /healthz HTTP/1.1\r\n")
    assert dripped(service, line, b"X-A: b\r\n") == b""


def test_connection_that_says_nothing(service: Service, line: socket.socket) -> None:
    started = time.monotonic()
    assert ended(line) == b""
    assert time.monotonic() - started > RECEIVE_SECONDS


def test_what_goes_on_after_the_answer(service: Service, line: socket.socket) -> None:
    """A GET that is answered at once, and a body without end behind it."""
    line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert dripped(service, line, b"1\r\n \r\n").startswith(b"HTTP/1.1 200 ")


def test_header_flood(service: Service, line: socket.socket) -> None:
    """Refused while it arrives."""
    line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    sent = 0
    try:
        while sent < 100_000_000:
            sent += line.send(b"X-Flood: " + b"x" * 1000 + b"\r\n")
    except (ConnectionResetError, BrokenPipeError):
        pass
    assert sent < 50_000_000
    service.accepted()


def test_a_slow_client_that_is_in_time(service: Service, line: socket.socket) -> None:
    body = json.dumps({"model": str(service.model)}).encode()
    line.sendall(head(service, f"Content-Length: {len(body)}", "Connection: close") + body[:5])
    time.sleep(RECEIVE_SECONDS / 20)
    line.sendall(body[5:])
    assert ended(line).startswith(b"HTTP/1.1 202 ")


def test_an_idle_connection_between_requests_is_kept(service: Service) -> None:
    limits = httpx.Limits(keepalive_expiry=PATIENCE)
    with httpx.Client(base_url=service.http.base_url, timeout=PATIENCE, limits=limits) as client:
        before = client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr")
        time.sleep(RECEIVE_SECONDS + ANSWERED_SECONDS + 1)
        assert client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr") == before
