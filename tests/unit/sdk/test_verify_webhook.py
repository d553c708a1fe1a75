"""What a receiver makes of a webhook with the SDK: only what the service signed, and not long ago."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.documented import blocks
from tokenforce import ScanOutcome, TokenforceError, WebhookEvent, WebhookVerificationError, verify_webhook
from tokenforce_service.access.rotating_secrets import new_secret
from tokenforce_service.webhooks.signing import signed_headers

SECRET = new_secret()
BODY = (
    '{"type":"scan.succeeded","timestamp":"2026-11-24T08:00:00+00:00","of_a_newer_service":1,'
    '"data":{"scan_id":"scan_1","status":"succeeded","model":"m","verdict":"clean","more":{"é":[]}}}'
)


def headers(body: str = BODY, secrets: tuple[str, ...] = (SECRET,), at: float | None = None) -> dict[str, str]:
    return signed_headers("evt_1", body, secrets, time.time() if at is None else at)


def test_a_webhook_is_read() -> None:
    event = verify_webhook(BODY.encode(), headers(), SECRET)
    assert isinstance(event, WebhookEvent)
    assert (event.id, event.type) == ("evt_1", "scan.succeeded")
    assert isinstance(event.scan, ScanOutcome)
    assert (event.scan.scan_id, event.scan.verdict, event.scan.licences) == ("scan_1", "clean", [])
    assert event.data["more"] == {"é": []}
    with pytest.raises(ValueError, match="frozen"):
        event.type = "x"  # type: ignore[misc]


def test_headers_in_any_case() -> None:
    shouted = {name.upper(): value for name, value in headers().items()}
    assert verify_webhook(BODY.encode(), shouted, SECRET).id == "evt_1"


def test_types_of_a_newer_service_are_read() -> None:
    body = '{"type":"audit.completed","timestamp":"2026-11-24T08:00:00Z","data":{"answer":"allow"}}'
    event = verify_webhook(body.encode(), headers(body), SECRET)
    assert (event.type, event.scan, event.data) == ("audit.completed", None, {"answer": "allow"})


def test_while_secrets_are_rotated_both_fit() -> None:
    old, new = new_secret(), new_secret()
    both = headers(secrets=(new, old))
    assert both["webhook-signature"].count("v1,") == 2
    for secret in (old, new):
        assert verify_webhook(BODY.encode(), both, secret).id == "evt_1"
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        verify_webhook(BODY.encode(), headers(secrets=(new,)), old)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": str(int(time.time()) - 30)},
        {"webhook-signature": "v1," + base64.b64encode(b"0" * 32).decode()},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,,"},
        {"webhook-signature": "v1,A"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1a,AAAA"},
        {"webhook-signature": " "},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "1e400"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "-1"},
    ],
)
def test_forged_headers(change: dict[str, str]) -> None:
    with pytest.raises(WebhookVerificationError):
        verify_webhook(BODY.encode(), {**headers(), **change}, SECRET)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_headers(missing: str) -> None:
    given_headers = headers()
    del given_headers[missing]
    with pytest.raises(WebhookVerificationError, match="Missing"):
        verify_webhook(BODY.encode(), given_headers, SECRET)


@pytest.mark.parametrize(("at", "says"), [(-301, "too old"), (-86400, "too old"), (310, "too new")])
def test_stale_webhook(at: float, says: str) -> None:
    """A recorded one that is sent again later, with its true signature."""
    with pytest.raises(WebhookVerificationError, match=says):
        verify_webhook(BODY.encode(), headers(at=time.time() + at), SECRET)


@given(st.binary(max_size=200))
def test_another_body_is_never_accepted(payload: bytes) -> None:
    if payload != BODY.encode():
        with pytest.raises(WebhookVerificationError):
            verify_webhook(payload, headers(), SECRET)


@pytest.mark.parametrize("body", ["[]", "{}", "null", "no json", '{"type":"x","timestamp":"never","data":{}}'])
def test_signed_but_no_event(body: str) -> None:
    with pytest.raises(WebhookVerificationError, match="not an event of tokenforce"):
        verify_webhook(body.encode(), headers(body), SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_é", "whsec_a", None])
def test_a_secret_that_is_none(secret: Any) -> None:
    with pytest.raises(WebhookVerificationError):
        verify_webhook(BODY.encode(), headers(), secret)


def test_it_belongs_to_the_error_tree() -> None:
    assert issubclass(WebhookVerificationError, TokenforceError)


def test_secrets_are_long_and_never_the_same() -> None:
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in made} == {32}


def test_the_receiver_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for _, block in blocks("python") if "verify_webhook(" in block]
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    names: dict[str, Any] = {}
    exec(code, names)
    receive = names["receive"]
    assert [receive(BODY.encode(), headers()) for _ in range(2)] == [200, 200]
    assert names["seen"] == {"evt_1"}
    assert receive(b"{}", headers()) == 400
