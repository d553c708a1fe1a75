"""`tokenforce keys`, against the real gateway in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import issue
from tokenforce import Client, NewKey, Scope
from tokenforce.cli.app import main
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def http(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A gateway that every client of the command line reaches; the environment has an admin's key."""
    monkeypatch.setenv("TOKENFORCE_URL", "http://testserver")
    monkeypatch.setenv("TOKENFORCE_KEY", issue(redis))
    with TestClient(create_app(ServiceSettings(), redis)) as http:

        def connected(url: str | None = None) -> Client:
            return Client(url, http_client=cast(Any, http))

        monkeypatch.setattr("tokenforce.cli.keys.Client", connected)
        yield http


def test_a_key_s_life(http: TestClient, capsys: Capture) -> None:
    create = ["keys", "create", "--owner", "market", "--scope", "scans:read", "--scope", "hooks", "--name", "[red]x[/]"]
    assert main([*create, "--expires-days", "30"]) == 0
    shown = capsys.readouterr()
    token = shown.out.strip()
    key_id, secret = token.split("_")[1:]
    assert secret not in shown.err
    assert "cannot be shown again" in shown.err
    assert main(["keys", "list"]) == 0
    listed = " ".join(capsys.readouterr().out.split())
    for part in (key_id, "market", "hooks, scans:read", "[red]x[/]", "until 20", "never"):
        assert part in listed
    assert secret not in listed
    assert main(["keys", "revoke", key_id]) == 0
    assert "revoked" in capsys.readouterr().out
    assert main(["keys", "revoke", token]) == 0  # again, by the whole token
    assert secret not in capsys.readouterr().out


def test_json(http: TestClient, capsys: Capture) -> None:
    limits = ["--scans-per-day", "9", "--active-scans", "2"]
    assert main(["keys", "create", "--owner", "a", "--scope", "admin", "--json", *limits]) == 0
    made = NewKey.model_validate_json(capsys.readouterr().out)
    assert made.limits.model_dump(exclude_none=True) == {"scans_per_day": 9, "active_scans": 2}
    assert main(["keys", "list", "--json", "--limit", "1"]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)] == [made.id]
    assert main(["keys", "revoke", made.id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["revoked_at"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["create", "--owner", "a"], 4, "Missing option '--scope'"),
        (["create", "--owner", "a", "--scope", "all"], 4, "'all' is not one of"),
        (["create", "--owner", "a b", "--scope", "hooks"], 4, "owner: String should match"),
        (["create", "--owner", "a", "--scope", "hooks", "--expires-days", "0"], 4, "--expires-days"),
        (["create", "--owner", "a", "--scope", "hooks", "--scans-per-day", "0"], 4, "--scans-per-day"),
        (["revoke", "nobody"], 2, "key_not_found: There is no key with this id"),
    ],
)
def test_mistakes(http: TestClient, capsys: Capture, arguments: list[str], code: int, says: str) -> None:
    assert main(["keys", *arguments]) == code
    assert says in capsys.readouterr().err


def test_keys_that_may_not(http: TestClient, redis: Redis, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENFORCE_KEY", issue(redis, Scope.scans_write))
    assert main(["keys", "list"]) == 2
    assert "scope_missing: The key" in capsys.readouterr().err
    monkeypatch.delenv("TOKENFORCE_KEY")
    assert main(["keys", "list"]) == 2
    assert "unauthenticated: This needs a key; send" in capsys.readouterr().err


def test_the_secret_stays_out_of_tracebacks(http: TestClient, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "tf_" + "0" * 16 + "_" + "s" * 43
    monkeypatch.setenv("TOKENFORCE_KEY", wrong)
    assert main(["keys", "list", "--debug"]) == 2
    assert "s" * 43 not in capsys.readouterr().err
    monkeypatch.setattr("tokenforce.cli.keys.Client", Client)
    monkeypatch.setattr(httpx.Client, "request", refuse)
    assert main(["keys", "revoke", wrong, "--debug"]) == 2
    assert "s" * 43 not in capsys.readouterr().err


def refuse(*_: object, **__: object) -> httpx.Response:
    raise httpx.UnsupportedProtocol("no")
