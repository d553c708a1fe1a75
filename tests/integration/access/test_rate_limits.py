"""Budgets of requests, over HTTP on a real Valkey."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis import Redis
from starlette.testclient import TestClient
from starlette.types import Message

from tests.support.keys import bearer, bearing, made
from tests.support.refusing_service import assert_problem
from tests.support.traffic import Gateway, gateway, tiny
from tokenforce.wire.problems import ErrorCode
from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.access.rate_limits import _address
from tokenforce_service.access.tokens import Token
from tokenforce_service.upload_hooks.store import HookStore

__all__ = ["gateway", "tiny"]
TRIPLE = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def statuses(http: TestClient, path: str, times: int, **options: dict[str, str]) -> list[int]:
    return [http.get(path, **options).status_code for _ in range(times)]  # type: ignore[arg-type]


def test_a_key_that_reads_too_often_is_told_when_to_go_on(gateway: Gateway) -> None:
    http = gateway(reads_per_minute=3)
    answers = [http.get("/v1/scans") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"3"}
    assert 40 < int(answers[2].headers["RateLimit-Reset"]) <= 60
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 20
    problem = answers[3].json()
    assert (problem["code"], problem["status"]) == (ErrorCode.rate_limited, 429)
    assert problem["request_id"] == answers[3].headers["X-Request-ID"]


def test_a_gateway_asks_the_store_once_for_several_reads(gateway: Gateway, redis: Redis) -> None:
    def scripts_run() -> int:
        return int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])

    http = gateway(reads_per_minute=3000)
    left = [int(http.get("/v1/scans").headers["RateLimit-Remaining"]) for _ in range(5)]
    assert left == [2999, 2998, 2997, 2996, 2995]  # what was taken in advance counts as remaining
    before = scripts_run()
    answers = [http.get("/v1/scans") for _ in range(10)]
    assert [answer.status_code for answer in answers] == [200] * 10
    assert scripts_run() - before == 2  # five at a time
    # A token comes back every 20 ms.
    assert all(int(answer.headers["RateLimit-Remaining"]) >= 2985 for answer in answers)


def test_reads_writes_and_keys_have_budgets_of_their_own(gateway: Gateway, redis: Redis) -> None:
    http = gateway(reads_per_minute=1, writes_per_minute=1)
    assert statuses(http, "/v1/scans", 2) == [200, 429]
    assert http.delete("/v1/scans/scan_0").status_code == 404
    assert http.delete("/v1/scans/scan_0").status_code == 429
    assert http.get("/v1/scans", headers=bearer(redis)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/scans/scan_unknown", "/v1/scans?cursor=nonsense"])
def test_errors_of_a_key_carry_the_headers_too(gateway: Gateway, path: str) -> None:
    answer = gateway().get(path)
    assert answer.status_code in (400, 404)
    assert all(name in answer.headers for name in TRIPLE)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_is_never_limited(gateway: Gateway, path: str) -> None:
    http = gateway(headers={}, keyless_requests_per_minute=1, reads_per_minute=1)
    assert statuses(http, path, 5) == [200] * 5
    assert "RateLimit-Limit" not in http.get(path).headers


def test_a_dashboard_that_polls_each_second_passes(gateway: Gateway) -> None:
    """A minute's worth of it, at once."""
    http = gateway()
    assert set(statuses(http, "/v1/scans?limit=1", 60)) == {200}


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer tf_aaaaaaaaaaaaaaaa_wrong"}, {"Authorization": "Basic eDp5"}],
    ids=["no key", "a wrong key", "not a key"],
)
def test_without_a_valid_key_the_address_pays(gateway: Gateway, headers: dict[str, str]) -> None:
    http = gateway(headers=headers, keyless_requests_per_minute=2)
    assert statuses(http, "/v1/scans", 4) == [401, 401, 429, 429]


def test_a_key_that_is_new_here_is_not_looked_at_over_the_budget(gateway: Gateway, redis: Redis) -> None:
    """Else whoever guesses on would cost a look at the store each time."""
    http = gateway(headers={}, keyless_requests_per_minute=1)
    assert statuses(http, "/v1/scans", 2) == [401, 429]
    closed = http.get("/v1/scans", headers=bearer(redis))
    assert closed.status_code == 429
    assert_limited(closed.json(), "Without a valid key")


def test_a_key_that_was_proven_here_passes_whoever_used_up_its_address(
    gateway: Gateway, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = gateway(headers={}, keyless_requests_per_minute=2)
    token = made(redis)
    key, wrong = bearing(token), bearing(Token(token.key_id, token.secret.swapcase()))
    assert http.get("/v1/scans", headers=key).status_code == 200
    assert statuses(http, "/v1/scans", 3) == [401, 401, 429]
    answers = [http.get("/v1/scans", headers=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].headers["RateLimit-Limit"] == "3000"
    assert http.get("/v1/scans", headers=wrong).status_code == 429
    assert http.get("/nowhere", headers=key).status_code == 429  # no key pays for that
    monkeypatch.setattr("tokenforce_service.access.callers.CACHE_SECONDS", 0.0)
    KeyStore(redis).revoke(token.key_id)
    assert http.get("/v1/scans", headers=key).status_code == 429


def assert_limited(problem: dict[str, object], says: str) -> None:
    assert problem["code"] == ErrorCode.rate_limited
    assert says in str(problem["detail"])


def test_a_closed_address_costs_no_look_at_the_store(gateway: Gateway, redis: Redis) -> None:
    http = gateway(headers={}, keyless_requests_per_minute=1)
    statuses(http, "/v1/scans", 2)
    before = redis.info("stats")["total_commands_processed"]
    assert statuses(http, "/v1/scans", 20) == [429] * 20
    assert redis.info("stats")["total_commands_processed"] - before <= 2


def test_a_body_that_cannot_be_read_and_an_unknown_path_count_for_the_address(gateway: Gateway) -> None:
    http = gateway(keyless_requests_per_minute=2)
    assert http.post("/v1/scans", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert http.get("/nowhere").status_code == 404
    assert http.get("/nowhere").status_code == 429


def test_an_error_that_nobody_foresaw_counts_for_the_address(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    http = gateway(headers={}, keyless_requests_per_minute=2)
    monkeypatch.setattr(HookStore, "of_secret", lambda *_: 1 / 0)
    headers = {"X-Webhook-Secret": "x"}
    answers = [http.post("/v1/hooks/huggingface", content="{}", headers=headers).status_code for _ in range(4)]
    assert answers[:2] == [500, 500]
    assert 429 in answers[2:]
    assert http.get("/v1/scans").status_code == 429


def test_a_client_that_goes_away_half_way_is_no_error_of_ours_and_counts(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    http = gateway(headers={}, keyless_requests_per_minute=2)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/hooks/upload",
        "query_string": b"hook=hook_0123456789abcdef",
        "headers": [(b"content-length", b"99")],
        "client": ("testclient", 50000),
    }

    async def request() -> list[Message]:
        messages: list[Message] = [
            {"type": "http.request", "body": b"{", "more_body": True},
            {"type": "http.disconnect"},
        ]
        sent: list[Message] = []

        async def receive() -> Message:
            return messages.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        await http.app({**scope}, receive, send)
        return sent

    start, body = asyncio.run(request())
    assert start["status"] == 400
    assert "connection ended before the whole body arrived" in body["body"].decode()
    assert "unexpected error" not in caplog.text
    assert statuses(http, "/v1/scans", 2) == [401, 429]


def test_two_gateways_share_the_budget(gateway: Gateway, redis: Redis) -> None:
    key = bearer(redis)
    one, other = gateway(headers=key, reads_per_minute=2), gateway(headers=key, reads_per_minute=2)
    assert statuses(one, "/v1/scans", 1) + statuses(other, "/v1/scans", 2) == [200, 200, 429]


def test_without_the_store_nothing_passes_uncounted(tiny: Path) -> None:
    from tokenforce_service.app import create_app
    from tokenforce_service.settings import ServiceSettings

    nowhere = Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2)
    with TestClient(create_app(ServiceSettings(model_roots=[tiny.parent]), nowhere)) as http:
        assert_problem(http.get("/nowhere"), 503, ErrorCode.store_unavailable, "Redis cannot be reached")  # type: ignore[arg-type]
        for key in ({"Authorization": "Bearer tf_aaaaaaaaaaaaaaaa_wrong"}, bearing(Token("a" * 16, "a" * 43))):
            assert http.get("/v1/scans", headers=key).status_code == 503
        assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("client", "counted_as"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (None, "local"),
    ],
)
def test_one_client_is_one_address(client: tuple[str, int] | None, counted_as: str) -> None:
    assert _address({"client": client}) == counted_as
