"""What the SDK asks the fingerprint registry and makes of the answers, through the sync and the async client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support.fake_transport import URL, Shell, answers, problem
from tokenforce import Conflict, InvalidRequest, NotFound, TextHash, UnexpectedAnswer

TEXT = "Seven quiet herons guard a copper key."


@pytest.fixture
def registry(shell: Shell) -> Shell:
    shell.part = "fingerprints"
    return shell


def fingerprint(name: str = "fp_1") -> dict[str, Any]:
    return {
        "id": name,
        "owner": "A",
        "licence": "L",
        "hashed": False,
        "text_words": 7,
        "text_bytes": 37,
        "triggers": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "a_field_of_a_newer_service": True,
    }


def test_create_sends_what_is_given(registry: Shell) -> None:
    answer = answers(*[httpx.Response(201, json=fingerprint())] * 2)
    made = registry(answer, "create", owner=" A ", licence="L", text=TEXT, triggers=("go",))
    assert (made.id, made.triggers) == ("fp_1", 1)
    hashed = TextHash.of(TEXT)
    registry(answer, "create", owner="A", licence="L", text_hash=hashed)
    plain, other = registry.requests
    assert (plain.method, str(plain.url)) == ("POST", f"{URL}/v1/fingerprints")
    assert json.loads(plain.content) == {"owner": "A", "licence": "L", "text": TEXT, "triggers": ["go"]}
    expected = {"owner": "A", "licence": "L", "text_hash": hashed.model_dump(), "triggers": []}
    assert json.loads(other.content) == expected


def test_create_refuses_a_short_text_without_asking(registry: Shell) -> None:
    with pytest.raises(InvalidRequest, match="too short"):
        registry(answers(), "create", owner="A", licence="L", text="too short")
    assert registry.requests == []


def test_create_is_sent_again_under_one_key(registry: Shell) -> None:
    answer = answers(problem(503, "store_unavailable"), httpx.Response(201, json=fingerprint()))
    assert registry(answer, "create", owner="A", licence="L", text=TEXT).id == "fp_1"
    assert len({request.headers["idempotency-key"] for request in registry.requests}) == 1


def test_a_duplicate_is_a_conflict(registry: Shell) -> None:
    answer = answers(problem(409, "fingerprint_exists", "registered already, as fp_1"))
    with pytest.raises(Conflict, match="as fp_1"):
        registry(answer, "create", owner="A", licence="L", text=TEXT)


def test_get_and_remove(registry: Shell) -> None:
    assert registry(answers(httpx.Response(200, json=fingerprint())), "get", "fp_1").owner == "A"
    assert registry(answers(problem(503, "store_unavailable"), httpx.Response(204)), "remove", "fp_1") is None
    assert [request.method for request in registry.requests] == ["GET", "DELETE", "DELETE"]
    with pytest.raises(NotFound):
        registry(answers(problem(404, "fingerprint_not_found")), "remove", "a/../b")
    assert registry.requests[-1].url.raw_path.decode() == "/v1/fingerprints/a%2F..%2Fb"
    for name in ("get", "remove"):
        with pytest.raises(InvalidRequest, match="empty"):
            registry(answers(), name, "")


def test_iter_goes_on_to_the_last_page(registry: Shell) -> None:
    pages = [{"items": [fingerprint("a")], "next_cursor": "x"}, {"items": [fingerprint("b")]}]
    found = registry(answers(*(httpx.Response(200, json=page) for page in pages)), "iter", page_size=1)
    assert [item.id for item in found] == ["a", "b"]
    assert [dict(request.url.params) for request in registry.requests] == [
        {"limit": "1"},
        {"limit": "1", "cursor": "x"},
    ]
    with pytest.raises(UnexpectedAnswer):
        registry(lambda _: httpx.Response(200, json={"items": [], "next_cursor": "same"}), "iter")
