"""What only the planner can find out: the scan is accepted, and ends `failed` with the reason. A real aggregator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.refusing_service import Service, assert_one_line, running_service
from tests.support.stack_process import free_port, process, wait_until
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.scans.stages import start_planning

SECONDS = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("planning")
    with running_service(folder) as running:
        environment = {
            "REDIS_URL": running.server.url,
            "TOKENFORCE_MODEL_ROOTS": json.dumps([str(running.root)]),
            "TOKENFORCE_CACHE_DIR": str(folder / "hub"),
            "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}",  # nobody listens there
            "HF_HOME": str(folder / "hub home"),
            "HF_HUB_OFFLINE": "0",  # the engine of other tests turns the hub off in this process
            "NO_PROXY": "*",
        }
        with process("tokenforce_service.aggregator", folder / "aggregator.log", environment):
            yield running


def planned(service: Service, scan_id: str) -> dict[str, Any]:
    """The scan once the planner is through with it."""
    scan: dict[str, Any] = {}

    def through() -> bool:
        scan.update(service.http.get(f"/v1/scans/{scan_id}").json())
        return scan["status"] not in ("queued", "planning")

    wait_until(through, SECONDS, (service.folder / "aggregator.log").read_text)
    return scan


def assert_fails(service: Service, model: Path | str, code: ErrorCode, says: str, **options: Any) -> dict[str, Any]:
    """The scan is accepted and fails for this reason; the next one is planned. Returns the problem."""
    answer = service.scan(model, **options)
    assert answer.status_code == 202, answer.text
    scan = planned(service, answer.json()["id"])
    assert scan["status"] == "failed"
    assert scan["finished_at"]
    problem: dict[str, Any] = scan["error"]
    assert problem["code"] == code
    assert problem["instance"] == f"/v1/scans/{scan['id']}"
    assert_one_line(problem["detail"], says)
    assert planned(service, service.accepted())["status"] == "sweeping"
    return problem


@pytest.mark.parametrize("model", ["org/name", "org/name@0123abc"])
def test_hub_that_cannot_be_reached(service: Service, model: str) -> None:
    problem = assert_fails(service, model, ErrorCode.hub_unreachable, "check the network or give a local folder")
    assert f"cannot be reached for {model} " in problem["detail"]
    assert problem["status"] == 502


def test_lengths_that_do_not_fit_behind_the_context(service: Service) -> None:
    """The gateway cannot know how long the chat context is."""
    assert_fails(service, service.model, ErrorCode.length_exceeds_model, "after the context; lower alpha", alpha=500)


def test_context_with_ids_beyond_the_vocabulary(service: Service) -> None:
    contexts = [{"name": "mine", "ids": [1, 10**9]}]
    assert_fails(service, service.model, ErrorCode.invalid_request, "the vocabulary ends at", contexts=contexts)


def test_context_without_tokens(service: Service) -> None:
    contexts = [{"name": "mine", "text": ""}]
    assert_fails(service, service.model, ErrorCode.invalid_request, "give some text", contexts=contexts)


@pytest.mark.parametrize(
    "template",
    [
        "{% for",
        "{{ raise_exception('never\nthis way') }}",
        "{{ 1 / 0 }}",
        "{{ messages[9].content.nothing }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'ab ' * 3000000 }}",
        "{{ 'ab ' * 9000000000 }}",
    ],
    ids=["half", "raises", "divides", "undefined", "endless", "escapes", "recurses", "long", "takes all memory"],
)
def test_hostile_chat_template(service: Service, template: str, request: pytest.FixtureRequest) -> None:
    folder = service.copy(request.node.callspec.id)
    (folder / "chat_template.jinja").write_text(template)
    problem = assert_fails(service, folder, ErrorCode.model_invalid, "use the context `bos`")
    assert ("MemoryError;" in problem["detail"]) is (request.node.callspec.id == "takes all memory")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("tokenizer.json", "{", "upload it again"),
        ("tokenizer.json", '{"model": {"type": "Evil"}}', "upload it again"),
    ],
)
def test_broken_file_that_only_the_planner_reads(
    service: Service, file: str, content: str, says: str, request: pytest.FixtureRequest
) -> None:
    folder = service.copy(request.node.callspec.id)
    (folder / file).write_text(content)
    assert_fails(service, folder, ErrorCode.model_invalid, says)


def test_model_that_vanishes_before_its_turn(service: Service) -> None:
    """Refused by the planner just as it would have been by the gateway."""
    scan_id, folder = "scan_vanishing", service.root / "vanished"
    service.store.create(scan_id, ScanRequest(model=str(folder)), "local")
    start_planning(service.store, scan_id)
    scan = planned(service, scan_id)
    assert scan["status"] == "failed"
    assert scan["error"]["code"] == ErrorCode.model_not_found
    assert planned(service, service.accepted())["status"] == "sweeping"
