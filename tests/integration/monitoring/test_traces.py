"""From a request to the jobs of its scan: the same request id on every log line, and one trace."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.scan_results import confirmed, example_plan
from tests.support.tiny_model import build_tiny_model
from tokenforce.wire.problems import ErrorCode, Problem
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.queues.jobs import CONTROL_QUEUE, JobName, ListedJob, enqueue, queue
from tokenforce_core.runtime import logs, tracing
from tokenforce_core.scans.stages import start_first_stage
from tokenforce_core.scans.store import Store
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

CALLERS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS = {"X-Request-ID": "from-the-caller-1", "traceparent": f"00-{CALLERS_TRACE}-00f067aa0ba902b7-01"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_model(folder / "tiny", planted=None)
    return folder


@pytest.fixture
def http(redis: Redis, root: Path, server_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("REDIS_URL", server_url)  # what the jobs read
    monkeypatch.setenv("TOKENFORCE_MODEL_ROOTS", json.dumps([str(root)]))
    with TestClient(create_app(ServiceSettings(), redis), headers=bearer(redis)) as client:
        yield client


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Traces are on, and end up in memory."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged, as a collector would read it."""
    found: list[dict[str, Any]] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = logs.JsonLines().format(record)
            assert "\n" not in line
            found.append(json.loads(line))

    handler, logger = Collector(), logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def run(redis: Redis, queue_name: str) -> None:
    """Run every waiting job, as a worker would."""
    for job in queue(queue_name, redis).jobs:
        assert isinstance(job, ListedJob)
        job.perform()


def test_one_trace_from_the_request_to_the_report(
    http: TestClient, store: Store, redis: Redis, root: Path, spans: InMemorySpanExporter
) -> None:
    answer = http.post("/v1/scans", json={"model": str(root / "tiny")}, headers=CALLERS)
    scan_id = answer.json()["id"]
    (request,) = spans.get_finished_spans()
    assert request.name == "POST /v1/scans"
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == CALLERS_TRACE
    run(redis, CONTROL_QUEUE)
    plan = store.plan(scan_id)
    assert plan is not None
    with pytest.raises(RuntimeError, match="only inside a tokenforce worker"):
        run(redis, plan.queue)  # no engine here; the span is there all the same, and says that it failed
    store.work.commit_confirmed(scan_id, [confirmed(1, 0.9)], 60)
    store.advance(scan_id, ScanStatus.aggregating, ScanStatus.sweeping)
    enqueue(redis, "report", JobName.aggregate, scan_id, timeout=60)
    run(redis, "report")
    assert store.status(scan_id) is ScanStatus.succeeded
    jobs = {span.name: span for span in spans.get_finished_spans()[1:]}
    assert set(jobs) == {"plan", "sweep", "aggregate"}
    for span in jobs.values():
        assert span.parent is not None
        assert (span.context.trace_id, span.parent.span_id) == (request.context.trace_id, request.context.span_id)
        assert span.attributes is not None
        assert span.attributes["tokenforce.scan_id"] == scan_id
    assert jobs["sweep"].attributes is not None
    assert jobs["sweep"].attributes["tokenforce.shard"] == 0
    assert jobs["sweep"].status.status_code is trace.StatusCode.ERROR
    assert jobs["plan"].status.is_ok


def test_every_line_of_a_scan_has_its_request_id(
    http: TestClient, redis: Redis, root: Path, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = http.post("/v1/scans", json={"model": str(root / "tiny")}, headers=CALLERS)
    assert answer.headers["X-Request-ID"] == CALLERS["X-Request-ID"]
    access = lines[-1]
    assert {"ts", "level", "logger", "message"} < set(access)
    assert (access["method"], access["path"], access["status"]) == ("POST", "/v1/scans", 202)
    assert access["request_id"] == CALLERS["X-Request-ID"]
    del lines[:]

    def plan(scan_id: str) -> None:
        logging.getLogger("tokenforce_service.planning.job").info("planned")

    monkeypatch.setattr("tokenforce_service.planning.job.plan", plan)
    run(redis, CONTROL_QUEUE)
    assert [(line["message"], line["request_id"], line["scan_id"], line["job"]) for line in lines] == [
        ("planned", CALLERS["X-Request-ID"], answer.json()["id"], "plan")
    ]


def test_the_error_of_a_scan_names_the_request(http: TestClient, store: Store, redis: Redis, root: Path) -> None:
    answer = http.post("/v1/scans", json={"model": str(root / "tiny")}, headers=CALLERS)
    problem = Problem(title="t", status=500, detail="d", code=ErrorCode.engine_failed)
    store.fail(answer.json()["id"], problem)
    error = http.get(answer.headers["Location"]).json()["error"]
    assert error["request_id"] == CALLERS["X-Request-ID"]


def test_no_line_has_the_key(http: TestClient, lines: list[dict[str, Any]], redis: Redis) -> None:
    token = str(http.headers["Authorization"]).split()[1]
    http.get(f"/v1/scans/{token}")
    http.get("/v1/scans", params={"cursor": token})
    http.get("/v1/scans", headers={"Authorization": f"Bearer {token}x"})
    ours = [line for line in lines if line["logger"].startswith("tokenforce")]  # the test's client logs too
    assert len(ours) == 3
    assert token.rpartition("_")[2] not in json.dumps(ours)


def test_a_malformed_traceparent_starts_a_trace_of_its_own(http: TestClient, spans: InMemorySpanExporter) -> None:
    for given in ("nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 5000):
        assert http.get("/healthz", headers={"traceparent": given}).status_code == 200
    assert [span.parent for span in spans.get_finished_spans()] == [None] * 3


def test_without_a_collector_nothing_is_recorded_and_the_callers_trace_goes_on(
    http: TestClient, store: Store, redis: Redis, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    before = trace.get_tracer_provider()
    tracing.configure("tokenforce-test")
    assert trace.get_tracer_provider() is before
    answer = http.post("/v1/scans", json={"model": str(root / "tiny")}, headers=CALLERS)
    stored: Any = redis.hget(f"tf:scan:{answer.json()['id']}", "traceparent")
    assert stored.decode() == CALLERS["traceparent"]
    store.create("scan_plain", ScanRequest(model="org/a"), "local")
    store.advance("scan_plain", ScanStatus.planning, ScanStatus.queued)
    start_first_stage(store, "scan_plain", example_plan())
    assert redis.hget("tf:scan:scan_plain", "traceparent") is None
