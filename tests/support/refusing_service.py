"""A gateway process on a real Valkey, and what every refusal of it must look like."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from tests.support.stack_process import gateway, valkey
from tests.support.tiny_model import build_tiny_model
from tokenforce.wire.problems import ErrorCode
from tokenforce_core.queues.workers import publish_engine
from tokenforce_core.scans.store import Store
from tokenforce_service.local.valkey import EmbeddedServer

TEMPORARY = (ErrorCode.store_unavailable, ErrorCode.storage_full)


@dataclass(frozen=True)
class Service:
    """A running gateway whose only root is `root`; `model` under it can be scanned."""

    http: httpx.Client
    server: EmbeddedServer
    store: Store
    folder: Path
    root: Path
    model: Path

    def scan(self, model: Path | str | None = None, **options: Any) -> httpx.Response:
        """Ask for a scan, of the good model unless another is given."""
        return self.http.post("/v1/scans", json={"model": str(model or self.model), **options})

    def send(self, body: bytes, content_type: str = "application/json") -> httpx.Response:
        """Post a body as it is."""
        return self.http.post("/v1/scans", content=body, headers={"Content-Type": content_type})

    def accepted(self) -> str:
        """The id of a new scan of the good model: the service works."""
        answer = self.scan()
        assert answer.status_code == 202, answer.text
        scan_id: str = answer.json()["id"]
        assert answer.headers["Location"] == f"/v1/scans/{scan_id}"
        return scan_id

    def copy(self, name: str) -> Path:
        """A copy of the good model, to be spoilt."""
        copied = self.root / name
        shutil.copytree(self.model, copied)
        return copied

    def assert_refused(self, answer: httpx.Response, status: int, code: ErrorCode, says: str) -> dict[str, Any]:
        """The answer is this problem, says so in one line, and the service goes on; returns the document."""
        problem = assert_problem(answer, status, code, says)
        self.accepted()
        return problem


def assert_problem(answer: httpx.Response, status: int, code: ErrorCode, says: str) -> dict[str, Any]:
    """A problem document (RFC 9457) with this status and code, whose one line contains `says`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"urn:tokenforce:problem:{code.value}"
    assert problem["title"]
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert_one_line(problem["detail"], says)
    assert ("Retry-After" in answer.headers) == (code in TEMPORARY)
    return problem


def assert_one_line(detail: str, says: str) -> None:
    assert says in detail
    assert detail.isprintable()
    assert len(detail) < 3000
    assert detail.endswith((".", "…"))


@contextmanager
def running_service(folder: Path, **settings: str) -> Iterator[Service]:
    """Valkey, a gateway and a tiny model, all under `folder`."""
    root = folder / "models"
    model = root / "good"
    build_tiny_model(model, planted=None)
    with valkey(folder) as server, Redis.from_url(server.url) as connection:
        store = Store(connection)
        publish_engine(store.connection, {"device": "cpu"}, ["LlamaForCausalLM"])
        with gateway(folder, server.url, root, **settings) as http:
            yield Service(http, server, store, folder, root, model)
