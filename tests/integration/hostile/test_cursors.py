"""Cursors that somebody has changed, on every list."""

from __future__ import annotations

import base64

import pytest

from tests.integration.hostile.conftest import LISTS, Targets
from tests.support.refusing_service import Service, assert_problem
from tokenforce.wire.problems import ErrorCode


def cursor(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


TAMPERED = ["x", "é", "\0", "%%%", "A" * 500, *map(cursor, ["{}", "null", "[1]", '["a", "b"]', "[true, true]"])]
TAMPERED += map(cursor, ["[NaN, 1]", '[1e999, "x"]', f"[{'9' * 350}, 1]", '[1.5, ["x"]]', "[" * 300, '[1.5, "x", 2]'])


@pytest.mark.parametrize("given", TAMPERED)
@pytest.mark.parametrize("path", LISTS)
def test_tampered_cursor(service: Service, targets: Targets, path: str, given: str) -> None:
    answer = service.http.get(targets.path(path), params={"cursor": given})
    assert_problem(answer, 400, ErrorCode.invalid_cursor, "start again without it")


@pytest.mark.parametrize("value", ['[-1e300, "(x"]', '[1e300, "\\u0000"]', '[0.0, ""]'])
@pytest.mark.parametrize("path", LISTS)
def test_cursor_in_our_form_of_no_place_of_ours(service: Service, targets: Targets, path: str, value: str) -> None:
    answer = service.http.get(targets.path(path), params={"cursor": cursor(value)})
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize("path", LISTS)
def test_cursor_with_half_a_surrogate_pair(service: Service, targets: Targets, path: str) -> None:
    answer = service.http.get(targets.path(path), params={"cursor": cursor('[1.5, "\\ud800"]')})
    assert_problem(answer, 400, ErrorCode.invalid_cursor, "start again without it")
