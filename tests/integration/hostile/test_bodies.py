"""Bodies that no decent client sends, on every route that takes one: endless, deep, not text, not JSON."""

from __future__ import annotations

import pytest

from tests.integration.hostile.conftest import HUB, UPLOAD, WITH_BODY, Targets
from tests.support.refusing_service import Service, assert_problem
from tokenforce.wire.problems import ErrorCode

DEEP = 10_000


def test_the_table_is_not_empty() -> None:
    assert {("post", "/v1/scans"), ("patch", "/v1/hooks/{hook_id}"), ("post", HUB), ("post", UPLOAD)} < set(WITH_BODY)


BODIES: dict[str, tuple[bytes, set[int]]] = {
    "10 MB": (b'{"model": "' + b"m" * 10_000_000 + b'"}', {413}),
    "lists in lists": (b"[" * DEEP + b"]" * DEEP, {400, 422}),
    "objects in objects": (b'{"model":' * DEEP + b"1" + b"}" * DEEP, {400, 422}),
    "not UTF-8": (b'{"model": "\xff\xfe", "url": "\xff", "owner": "\xff"}', {400}),
    "UTF-16": ('{"model": 7}'.encode("utf-16"), {400, 422}),
    "a bare NUL": (b'{"model": "a\0b"}', {400}),
    "NULs": (rb'{"model": "\u0000", "url": "\u0000", "owner": "\u0000", "sha": 7}', {422}),
    "half a surrogate pair": (rb'{"model": "\ud800", "url": "\ud800", "owner": "\ud800", "\ud800": 1}', {400, 422}),
    "a number of 5,000 digits": (b'{"alpha": ' + b"9" * 5000 + b"}", {400, 422}),
    "a number beyond a double": (b'{"model": "a/b", "floor": 1e999, "expires_at": 1e999, "sha": 7}', {422}),
    "infinity": (b'{"model": "a/b", "floor": Infinity, "expires_at": -Infinity, "sha": 7}', {400, 422}),
    "one key twice, the last one wrong": (b'{"model": "a/b", "model": 7, "owner": 7, "url": 7}', {422}),
}


UNSIGNABLE = {"not UTF-8", "UTF-16"}
"""Standard Webhooks signs text, so an upload hook cannot be sent these."""


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [(*route, kind) for route in WITH_BODY for kind in BODIES if route[1] != UPLOAD or kind not in UNSIGNABLE],
)
def test_body_that_nobody_means(service: Service, targets: Targets, method: str, path: str, kind: str) -> None:
    body, statuses = BODIES[kind]
    headers = {"Content-Type": "application/json", **targets.proof(path, body)}
    answer = service.http.request(method, targets.path(path), content=body, headers=headers)
    assert answer.status_code in statuses, answer.text
    code = ErrorCode.body_too_large if answer.status_code == 413 else ErrorCode.invalid_request
    assert_problem(answer, answer.status_code, code, "")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "nonsense"])
@pytest.mark.parametrize(("method", "path"), [route for route in WITH_BODY if route[1] not in (HUB, UPLOAD)])
def test_body_of_another_kind(service: Service, targets: Targets, method: str, path: str, kind: str) -> None:
    answer = service.http.request(method, targets.path(path), content=b"{}", headers={"Content-Type": kind})
    assert_problem(answer, 422, ErrorCode.invalid_request, "Content-Type: application/json")
