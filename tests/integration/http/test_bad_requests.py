"""Requests that make no sense, through real HTTP: a problem document each time, never a stack trace."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.refusing_service import Service, assert_problem, running_service
from tests.support.scan_results import example_report
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanStatus
from tokenforce_service.refusals import Refusal

LIMIT = 1 << 20
INVALID = ErrorCode.invalid_request
UNKNOWN = "scan_0123456789abcdef"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("bad")) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"model": ', "not valid JSON; send one JSON object"),
        (b"", "send one"),
        (b"\xff\xfe{}", "send one JSON object"),
        (b"[" * 100_000, "nested too deeply); send one JSON object"),
        (b'{"model":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply); send one JSON object"),
        (b'{"model": "a/b", "alpha": ' + b"9" * 5000 + b"}", "send one JSON object"),
    ],
    ids=["half", "nothing", "not UTF-8", "nested lists", "nested objects", "huge number"],
)
def test_unreadable_body(service: Service, body: bytes, says: str) -> None:
    status = 400 if body else 422
    service.assert_refused(service.send(body), status, INVALID, says)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"model"', b"7", b"true"])
def test_body_that_is_no_object(service: Service, body: bytes) -> None:
    service.assert_refused(service.send(body), 422, INVALID, "not a JSON object; send one")


def test_body_of_another_media_type(service: Service) -> None:
    answer = service.send(b'{"model": "a/b"}', "text/plain")
    service.assert_refused(answer, 422, INVALID, "Content-Type: application/json")


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({}, "/body/model", "missing; add it"),
        ({"model": 7}, "/body/model", "should be a valid string"),
        ({"model": ""}, "/body/model", "at least 1 character"),
        ({"model": "m" * 1025}, "/body/model", "at most 1024 characters"),
        ({"model": "a/b", "alpha": "many"}, "/body/alpha", "valid integer"),
        ({"model": "a/b", "alpha": 0}, "/body/alpha", "greater than or equal to 1"),
        ({"model": "a/b", "beta": 10**9}, "/body/beta", "less than or equal to 4096"),
        ({"model": "a/b", "floor": 1}, "/body/floor", "less than 1"),
        ({"model": "a/b", "floor": float("nan")}, "/body/floor", "less than 1"),
        ({"model": "a/b", "contexts": "bos"}, "/body/contexts", "valid list"),
        ({"model": "a/b", "contexts": []}, "/body/contexts", "at least 1 item"),
        ({"model": "a/b", "alfa": 3}, "/body/alfa", "no such field; see /docs"),
        ({"model": "a/b", "a\nb": 3}, "/body/a\nb", r"/body/a\nb: There is no such field"),
    ],
)
def test_wrong_field(service: Service, body: dict[str, Any], pointer: str, says: str) -> None:
    problem = service.assert_refused(service.send(json.dumps(body).encode()), 422, INVALID, says)
    assert problem["errors"][0]["pointer"] == pointer


def test_contexts_of_one_name(service: Service) -> None:
    answer = service.scan(contexts=["bos", {"name": "bos", "text": "Hello"}])
    service.assert_refused(answer, 422, INVALID, "rename one")


def test_declared_oversized_body(service: Service) -> None:
    answer = service.send(b" " * (LIMIT + 1))
    service.assert_refused(answer, 413, ErrorCode.body_too_large, f"larger than {LIMIT} bytes; send a smaller one")


def test_chunked_oversized_body(service: Service) -> None:
    """No length is declared: it is refused while it arrives."""
    chunks = (b" " * 65536 for _ in range(256))
    answer = service.http.post("/v1/scans", content=chunks, headers={"Content-Type": "application/json"})
    service.assert_refused(answer, 413, ErrorCode.body_too_large, "send a smaller one")
    assert "Content-Length" not in answer.request.headers


def test_largest_body_is_read(service: Service) -> None:
    body = json.dumps({"model": str(service.model)}).encode()
    assert service.send(body + b" " * (LIMIT - len(body))).status_code == 202


@pytest.mark.parametrize(
    ("model", "status", "code", "says"),
    [
        ("/models/a\0b", 422, ErrorCode.model_not_found, r"/models/a\x00b has a NUL character; give the path"),
        ("org/na\0me", 422, ErrorCode.model_not_found, "hub id"),
        ("\ud800", 422, INVALID, "valid string"),
        ("/\ud800", 422, INVALID, "valid string"),
        ("/a\nb\r\x1b[31m", 403, ErrorCode.path_not_allowed, r"/a\nb\r\x1b[31m is outside the folders that"),
        ("/\u202egnp.exe\u2028", 403, ErrorCode.path_not_allowed, r"/\u202egnp.exe\u2028 is outside"),
        ("/🦜/ü", 403, ErrorCode.path_not_allowed, "/🦜/ü is outside"),
        ("🦜" * 1000, 422, ErrorCode.model_not_found, "hub id"),
        ("/" + "🦜" * 1000, 403, ErrorCode.path_not_allowed, "start the service with"),
    ],
)
def test_odd_characters_in_the_model(service: Service, model: str, status: int, code: ErrorCode, says: str) -> None:
    service.assert_refused(service.send(json.dumps({"model": model}).encode()), status, code, says)


@pytest.mark.parametrize("part", ["", "/findings", "/report"])
@pytest.mark.parametrize("scan_id", [UNKNOWN, "x", "a%00b", "%F0%9F%A6%9C", "x" * 5000])
def test_unknown_scan(service: Service, scan_id: str, part: str) -> None:
    answer = service.http.get(f"/v1/scans/{scan_id}{part}")
    service.assert_refused(answer, 404, ErrorCode.scan_not_found, "list them with GET /v1/scans")


def test_cancel_of_an_unknown_scan(service: Service) -> None:
    answer = service.http.delete(f"/v1/scans/{UNKNOWN}")
    service.assert_refused(answer, 404, ErrorCode.scan_not_found, "list them with GET /v1/scans")


@pytest.mark.parametrize("part", ["live", "shards", "engine", "confirmed", "report", "best:0"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_store_s_other_keys_are_no_scans(service: Service, method: str, part: str) -> None:
    scan_id = service.accepted()
    service.store.work.note_progress(scan_id, "0", 5, 5)
    service.store.note_engine(scan_id, {"vllm": "1"})
    service.store.work.commit_confirmed(scan_id, [], 0)
    answer = service.http.request(method, f"/v1/scans/{scan_id}:{part}")
    service.assert_refused(answer, 404, ErrorCode.scan_not_found, "There is no scan")


def test_second_cancel(service: Service) -> None:
    url = f"/v1/scans/{service.accepted()}"
    first = service.http.delete(url)
    assert first.status_code == 202
    assert first.json()["status"] == "cancelled"
    assert service.http.delete(url).status_code == 202  # the first answer may have been lost on its way
    service.assert_refused(service.http.get(f"{url}/report"), 409, ErrorCode.report_not_ready, "start a new scan")
    assert service.http.get(url).json()["status"] == "cancelled"


def test_cancel_of_a_finished_scan(service: Service) -> None:
    scan_id = service.accepted()
    service.store.advance(scan_id, ScanStatus.aggregating, ScanStatus.queued)
    service.store.finish(scan_id, example_report(scan_id))
    answer = service.http.delete(f"/v1/scans/{scan_id}")
    service.assert_refused(
        answer, 409, ErrorCode.scan_finished, "already ended (succeeded); there is nothing to cancel"
    )
    assert service.http.get(f"/v1/scans/{scan_id}/report").status_code == 200


def test_cancel_and_report_of_a_failed_scan(service: Service) -> None:
    scan_id = service.accepted()
    service.store.fail(scan_id, Refusal(ErrorCode.engine_failed, "The engine died.").problem())
    url = f"/v1/scans/{scan_id}"
    service.assert_refused(service.http.delete(url), 409, ErrorCode.scan_finished, "already ended (failed)")
    service.assert_refused(service.http.get(f"{url}/report"), 409, ErrorCode.report_not_ready, "see its `error`")


def test_report_of_an_unfinished_scan(service: Service) -> None:
    answer = service.http.get(f"/v1/scans/{service.accepted()}/report")
    service.assert_refused(answer, 409, ErrorCode.report_not_ready, "not ended; poll it")


def cursor(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


TAMPERED = ["x", "é", "%%%", "A" * 500, *map(cursor, ["{}", "[]", "null", "[1]", '["a", "b"]', "[true, true]"])]
TAMPERED += map(cursor, ["[NaN, 1]", "[1e999, 1]", f"[{'9' * 350}, 1]", '[1.5, ["x"]]', "[" * 300])


@pytest.mark.parametrize("given", TAMPERED)
def test_tampered_cursor(service: Service, given: str) -> None:
    for path in ("/v1/scans", f"/v1/scans/{service.accepted()}/findings"):
        answer = service.http.get(path, params={"cursor": given})
        service.assert_refused(answer, 400, ErrorCode.invalid_cursor, "start again without it")


@pytest.mark.parametrize("value", ['["repetition", 1]', '["probability", -1]', '["probability", 1.5]', "[1.5, 1]"])
def test_cursor_of_another_list(service: Service, value: str) -> None:
    path = f"/v1/scans/{service.accepted()}/findings"
    answer = service.http.get(path, params={"cursor": cursor(value), "order": "probability"})
    service.assert_refused(answer, 400, ErrorCode.invalid_cursor, "start again without it")


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"cursor": "c" * 513}, {"order": "alphabet"}]
)
def test_wrong_query(service: Service, query: dict[str, str]) -> None:
    answer = service.http.get(f"/v1/scans/{service.accepted()}/findings", params=query)
    service.assert_refused(answer, 422, INVALID, f"/query/{next(iter(query))}: ")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v1/scans"), ("DELETE", "/v1/scans"), ("POST", f"/v1/scans/{UNKNOWN}"), ("PATCH", "/healthz")],
)
def test_wrong_method(service: Service, method: str, path: str) -> None:
    answer = service.http.request(method, path)
    service.assert_refused(answer, 405, ErrorCode.method_not_allowed, f"{path} does not support {method}; see /docs")
    assert answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/", "/v2/scans", "/v1/scans/a/b", "/v1/%2e%2e/x", "/a%0Ab", "/%00"])
def test_unknown_route(service: Service, path: str) -> None:
    answer = service.http.get(path)
    problem = service.assert_refused(answer, 404, ErrorCode.not_found, "see /docs for the routes")
    assert problem["instance"].isprintable()


@pytest.mark.parametrize("host", ["[", "a b", "?"])
def test_odd_host(service: Service, host: str) -> None:
    assert_problem(service.http.get("/none", headers={"Host": host}), 404, ErrorCode.not_found, "/docs")
    service.accepted()


def test_request_id_of_the_caller(service: Service) -> None:
    """Kept if it fits into a log line, replaced otherwise."""
    for given, kept in (("mine-1", True), ("x" * 65, False), ("a b", False)):
        answer = service.http.get("/none", headers={"X-Request-ID": given})
        assert (assert_problem(answer, 404, ErrorCode.not_found, "/docs")["request_id"] == given) == kept


def test_nobody_forges_a_line_of_the_log(service: Service) -> None:
    service.http.get("/none%0Aforged%20line")
    service.accepted()
    log = [json.loads(line) for line in (service.folder / "gateway.log").read_text().splitlines()]
    assert any(line.get("path") == r"/none\nforged line" for line in log)
    assert all({"ts", "level", "logger", "message"} <= set(line) for line in log)
