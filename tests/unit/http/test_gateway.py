"""The gateway in-process, on a fake Redis: its contract with the SDK, its document, its answer to the unforeseen.

What needs Lua, which the fake does not speak here, is in tests/integration/http/test_gateway.py.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tokenforce.sdk.errors import error_from_problem
from tokenforce.wire.fingerprints import Fingerprint, FingerprintRequest, TextHash
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import Report
from tokenforce.wire.scans import Scan, ScanRequest
from tokenforce_service.app import create_app
from tokenforce_service.fingerprints.routes import EXAMPLE_FINGERPRINT, EXAMPLE_FINGERPRINTS
from tokenforce_service.models import hub
from tokenforce_service.refusals import LONGEST_DETAIL, Refusal, one_line
from tokenforce_service.scans.admission import check_request
from tokenforce_service.scans.routes import EXAMPLE_REPORT, EXAMPLE_REQUESTS, EXAMPLE_SCAN
from tokenforce_service.settings import ServiceSettings


@pytest.fixture
def http() -> Iterator[TestClient]:
    redis = fakeredis.FakeRedis()
    app = create_app(ServiceSettings(), redis)

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("the password is hunter2")

    with TestClient(app, raise_server_exceptions=False, headers=bearer(redis)) as client:
        yield client


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(ServiceSettings(), fakeredis.FakeRedis()).openapi()


# --- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_becomes_a_problem_and_then_its_class(code: ErrorCode) -> None:
    """What the codes are is pinned in tests/unit/wire/test_problems.py."""
    problem = Refusal(code, "Do this.").problem()
    assert problem.status == code.status
    assert problem.title not in ("", "Error")
    assert type(error_from_problem(problem)).__name__ == code.sdk_class


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ü 🦜", "plain – ü 🦜"),
        ("a\nb\tc\0", r"a\nb\tc\x00"),
        ("\u202e\ud800\u2028", r"\u202e\ud800\u2028"),
        ("x" * (LONGEST_DETAIL + 1), "x" * LONGEST_DETAIL + "…"),
    ],
)
def test_a_detail_is_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert Refusal(ErrorCode.internal_error, text).detail == shown


def test_unforeseen_error(http: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    answer = http.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == ErrorCode.internal_error
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert "hunter2" not in answer.text
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1
    assert problem["request_id"] in logged[0].getMessage()
    assert 'route="/broken",status="500"' in http.get("/metrics").text


def test_invented_methods_do_not_fill_the_metrics(http: TestClient) -> None:
    for number in range(3):
        assert http.request(f"BREW{number}", "/healthz").status_code == 405
    text = http.get("/metrics").text
    assert "BREW" not in text
    assert 'tokenforce_http_requests_total{method="other",route="/healthz",status="405"} 3.0' in text


def test_full_disk_under_the_hub_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not the hub's fault: it says where to free space."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", full)
    with pytest.raises(Refusal, match="free some space in") as caught:
        hub.download("org/name", tmp_path, 1e9)
    assert caught.value.code is ErrorCode.storage_full


# --- the document -------------------------------------------------------------------------------------


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{m.upper()} {p}": operation for p, path in document["paths"].items() for m, operation in path.items()}


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        errors = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert ("503" in errors) == (name != "GET /healthz"), name
        # The upload hook's id is in the query.
        assert ("404" in errors) == ("{" in name or name == "POST /v1/hooks/upload"), name
        for answer in errors.values():
            assert list(answer["content"]) == ["application/problem+json"], name
            assert answer["description"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_what_each_route_answers(document: dict[str, Any]) -> None:
    found = {
        name: set(operation["responses"]) - ({"401", "403", "429"} if "security" in operation else set())
        for name, operation in operations(document).items()
    }
    assert found["POST /v1/scans"] == {"202", "400", "408", "409", "413", "422", "503"}
    assert found["GET /v1/scans"] == {"200", "400", "422", "503"}
    assert found["GET /v1/scans/{scan_id}"] == {"200", "304", "404", "503"}
    assert found["DELETE /v1/scans/{scan_id}"] == {"202", "404", "409", "503"}
    assert found["GET /v1/scans/{scan_id}/findings"] == {"200", "400", "404", "422", "503"}
    assert found["GET /v1/scans/{scan_id}/report"] == {"200", "404", "409", "503"}
    assert found["POST /v1/fingerprints"] == {"201", "400", "408", "409", "413", "422", "503"}
    assert found["GET /v1/fingerprints"] == {"200", "400", "422", "503"}
    assert found["GET /v1/fingerprints/{fingerprint_id}"] == {"200", "404", "503"}
    assert found["DELETE /v1/fingerprints/{fingerprint_id}"] == {"204", "404", "503"}


def test_examples_in_the_document(document: dict[str, Any]) -> None:
    found = operations(document)
    content = found["POST /v1/scans"]["requestBody"]["content"]["application/json"]
    assert content["examples"] == EXAMPLE_REQUESTS
    for example in EXAMPLE_REQUESTS.values():
        assert example["summary"]
        ScanRequest.model_validate(example["value"])
    ScanRequest.model_validate(EXAMPLE_SCAN["request"])
    Scan.model_validate(EXAMPLE_SCAN)
    for name, status in (("POST /v1/scans", "202"), ("GET /v1/scans/{scan_id}", "200")):
        assert found[name]["responses"][status]["content"]["application/json"]["example"] == EXAMPLE_SCAN
    content = found["POST /v1/fingerprints"]["requestBody"]["content"]["application/json"]
    assert content["examples"] == EXAMPLE_FINGERPRINTS
    plain, hashed = (FingerprintRequest.model_validate(e["value"]) for e in EXAMPLE_FINGERPRINTS.values())
    assert hashed.text_hash == TextHash.of(str(plain.text), hashed.text_hash.salt if hashed.text_hash else None)
    Fingerprint.model_validate(EXAMPLE_FINGERPRINT)
    assert "example" in found["GET /v1/scans/{scan_id}/report"]["responses"]["200"]["content"]["application/json"]


def test_the_examples_of_the_document_are_what_they_stand_for() -> None:
    assert Report.model_validate(EXAMPLE_REPORT).model_dump(mode="json") == EXAMPLE_REPORT
    for example in EXAMPLE_REQUESTS.values():
        check_request(ScanRequest.model_validate(example["value"]))


def test_a_report_of_an_earlier_schema_was_forced_in_all_of_its_contexts() -> None:
    scan = {name: value for name, value in EXAMPLE_REPORT["scan"].items() if name not in ("depth", "forced_contexts")}
    report = Report.model_validate({**EXAMPLE_REPORT, "schema_version": "2.1", "scan": scan})
    assert report.scan.forced_contexts == [context["name"] for context in scan["contexts"]]
    quick = Report.model_validate({**EXAMPLE_REPORT, "scan": {**scan, "depth": "quick"}})
    assert quick.scan.forced_contexts == []
