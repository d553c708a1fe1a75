"""What no decent client sends, on every route that it concerns: endless, slow, deep, huge and misnamed requests."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.refusing_service import Service, assert_problem, running_service
from tokenforce.types import ErrorCode
from tokenforce_service.app import create_app
from tokenforce_service.receiving import ANSWERED_SECONDS
from tokenforce_service.settings import ServiceSettings

RECEIVE_SECONDS = 2.0
PATIENCE = 60.0
"""Seconds that a loaded machine may take."""
_PATHS: dict[str, dict[str, Any]] = create_app(ServiceSettings()).openapi()["paths"]
WITH_BODY = [
    (method, path) for path, methods in _PATHS.items() for method, found in methods.items() if "requestBody" in found
]
LISTS = [path for path, methods in _PATHS.items() if '"cursor"' in json.dumps(methods.get("get", {}).get("parameters"))]
WITH_ID = sorted({path for path in _PATHS if "{" in path})
DEEP = 10_000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    plenty = {f"TOKENFORCE_{kind}_PER_MINUTE": "1000000" for kind in ("READS", "WRITES", "KEYLESS_REQUESTS")}
    plenty |= {"TOKENFORCE_ACTIVE_SCANS_PER_KEY": "10000", "TOKENFORCE_RECEIVE_SECONDS": str(RECEIVE_SECONDS)}
    with running_service(tmp_path_factory.mktemp("hostile"), **plenty) as running:
        yield running


def filled(service: Service, path: str) -> str:
    """The path with the ids of a scan and a webhook that exist."""
    if "{scan_id}" in path:
        path = path.replace("{scan_id}", service.accepted())
    if "{webhook_id}" in path:
        made = service.http.post("/v1/webhooks", json={"url": "https://93.184.215.14/hook"})
        path = path.replace("{webhook_id}", made.json()["id"])
    return path


def test_the_tables_are_not_empty() -> None:
    assert ("post", "/v1/scans") in WITH_BODY
    assert {"/v1/scans", "/v1/keys", "/v1/fingerprints", "/v1/webhooks"} < set(LISTS)
    assert "/v1/scans/{scan_id}" in WITH_ID


# --- bodies -------------------------------------------------------------------------------------------

BODIES: dict[str, tuple[bytes, set[int]]] = {
    "10 MB": (b'{"model": "' + b"m" * 10_000_000 + b'"}', {413}),
    "lists in lists": (b"[" * DEEP + b"]" * DEEP, {400, 422}),
    "objects in objects": (b'{"model":' * DEEP + b"1" + b"}" * DEEP, {400, 422}),
    "not UTF-8": (b'{"model": "\xff\xfe", "url": "\xff", "owner": "\xff"}', {400}),
    "UTF-16": ('{"model": 7}'.encode("utf-16"), {400, 422}),
    "a bare NUL": (b'{"model": "a\0b"}', {400}),
    "NULs": (rb'{"model": "\u0000", "url": "\u0000", "owner": "\u0000"}', {422}),
    "half a surrogate pair": (rb'{"model": "\ud800", "url": "\ud800", "owner": "\ud800", "\ud800": 1}', {400, 422}),
    "a number of 5,000 digits": (b'{"alpha": ' + b"9" * 5000 + b"}", {400}),
    "a number beyond a double": (b'{"model": "a/b", "floor": 1e999, "expires_at": 1e999}', {422}),
    "infinity": (b'{"model": "a/b", "floor": Infinity, "expires_at": -Infinity}', {400, 422}),
    "one key twice, the last one wrong": (b'{"model": "a/b", "model": 7, "owner": 7, "url": 7}', {422}),
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_body_that_nobody_means(service: Service, method: str, path: str, kind: str) -> None:
    body, statuses = BODIES[kind]
    url = filled(service, path)
    answer = service.http.request(method, url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in statuses, answer.text
    code = ErrorCode.body_too_large if answer.status_code == 413 else ErrorCode.invalid_request
    assert_problem(answer, answer.status_code, code, "")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "nonsense"])
@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_body_of_another_kind(service: Service, method: str, path: str, kind: str) -> None:
    answer = service.http.request(method, filled(service, path), content=b"{}", headers={"Content-Type": kind})
    assert_problem(answer, 422, ErrorCode.invalid_request, "Content-Type: application/json")


# --- names --------------------------------------------------------------------------------------------

NAMES = ["..%2f..%2fetc%2fpasswd", "%2e%2e", "%2e", "a%00b", "scan_0:live", "scan:*", "*", "%0d%0aX-Evil:%201"]
NAMES += ["x" * 300, "%F0%9F%A6%9C", "%ff%fe", "%ud800", "-1", "null", "{scan_id}"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", WITH_ID)
def test_id_of_nothing(service: Service, path: str, name: str) -> None:
    url = path
    for part in ("scan_id", "key_id", "fingerprint_id", "webhook_id", "delivery_id"):
        url = url.replace(f"{{{part}}}", name)
    for method in _PATHS[path]:
        body = {"enabled": True} if method == "patch" else None
        answer = service.http.request(method, url, json=body)
        assert answer.status_code in (404, 405), answer.text  # 405: dots that the client resolved
        assert_problem(answer, answer.status_code, ErrorCode(answer.json()["code"]), "")
        assert "X-Evil" not in answer.headers


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_the_method_cannot_be_overridden(service: Service, name: str) -> None:
    url = f"/v1/scans/{service.accepted()}"
    assert service.http.get(url, headers={name: "DELETE"}, params={"_method": "DELETE"}).status_code == 200
    assert service.http.get(url).json()["status"] != "cancelled"


# --- cursors ------------------------------------------------------------------------------------------


def cursor(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


TAMPERED = ["x", "é", "\0", "%%%", "A" * 500, *map(cursor, ["{}", "null", "[1]", '["a", "b"]', "[true, true]"])]
TAMPERED += map(cursor, ["[NaN, 1]", '[1e999, "x"]', f"[{'9' * 350}, 1]", '[1.5, ["x"]]', "[" * 300, '[1.5, "x", 2]'])


@pytest.mark.parametrize("given", TAMPERED)
@pytest.mark.parametrize("path", LISTS)
def test_tampered_cursor(service: Service, path: str, given: str) -> None:
    answer = service.http.get(filled(service, path), params={"cursor": given})
    assert_problem(answer, 400, ErrorCode.invalid_cursor, "start again without it")


@pytest.mark.parametrize("value", ['[-1e300, "(x"]', '[1e300, "\\u0000"]', '[0.0, ""]'])
@pytest.mark.parametrize("path", LISTS)
def test_cursor_in_our_form_of_no_place_of_ours(service: Service, path: str, value: str) -> None:
    answer = service.http.get(filled(service, path), params={"cursor": cursor(value)})
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize("path", LISTS)
def test_cursor_with_half_a_surrogate_pair(service: Service, path: str) -> None:
    answer = service.http.get(filled(service, path), params={"cursor": cursor('[1.5, "\\ud800"]')})
    assert_problem(answer, 400, ErrorCode.invalid_cursor, "start again without it")


# --- connections --------------------------------------------------------------------------------------


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
