"""Ids, methods and parameters that name nothing."""

from __future__ import annotations

import re

import pytest

from tests.integration.hostile.conftest import LISTS, PATHS, WITH_ID, Targets
from tests.support.refusing_service import Service, assert_problem
from tokenforce.wire.problems import ErrorCode


def test_the_tables_are_not_empty() -> None:
    assert {"/v1/scans", "/v1/keys", "/v1/fingerprints", "/v1/webhooks", "/v1/hooks"} < set(LISTS)
    assert {"/v1/scans/{scan_id}", "/v1/hooks/{hook_id}/rotate"} < set(WITH_ID)


NAMES = ["..%2f..%2fetc%2fpasswd", "%2e%2e", "%2e", "a%00b", "scan_0:live", "scan:*", "*", "%0d%0aX-Evil:%201"]
NAMES += ["x" * 300, "%F0%9F%A6%9C", "%ff%fe", "%ud800", "-1", "null", "{scan_id}"]

CHANGES = {"/v1/webhooks/{webhook_id}": {"enabled": True}, "/v1/hooks/{hook_id}": {"policy": {"repos": ["*"]}}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", WITH_ID)
def test_id_of_nothing(service: Service, path: str, name: str) -> None:
    url = re.sub(r"\{\w+\}", lambda _: name, path)
    for method in PATHS[path]:
        answer = service.http.request(method, url, json=CHANGES[path] if method == "patch" else None)
        assert answer.status_code in (404, 405), answer.text  # 405: dots that the client resolved
        assert_problem(answer, answer.status_code, ErrorCode(answer.json()["code"]), "")
        assert "X-Evil" not in answer.headers


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_the_method_cannot_be_overridden(service: Service, name: str) -> None:
    url = f"/v1/scans/{service.accepted()}"
    assert service.http.get(url, headers={name: "DELETE"}, params={"_method": "DELETE"}).status_code == 200
    assert service.http.get(url).json()["status"] != "cancelled"


@pytest.mark.parametrize("path", LISTS)
def test_a_misspelt_filter_does_not_list_everything(service: Service, targets: Targets, path: str) -> None:
    answer = service.http.get(targets.path(path), params={"stauts": "failed"})
    assert_problem(answer, 422, ErrorCode.invalid_request, "/query/stauts: There is no such field")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/hooks/upload", "POST"),
        ("/v1/hooks/hook_0123456789abcdef", "DELETE, GET, PATCH"),
        ("/v1/scans", "GET, POST"),
        ("/healthz", "GET"),
    ],
)
def test_allow_names_the_methods_of_the_path(service: Service, path: str, methods: str) -> None:
    answer = service.http.request("PROPFIND", path)
    assert_problem(answer, 405, ErrorCode.method_not_allowed, "does not support PROPFIND")
    assert answer.headers["Allow"] == methods
