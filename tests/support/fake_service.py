"""A scripted service on a real socket, for tests of the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tokenforce.wire.report import SCHEMA_VERSION
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.plan.presets import settings_for

HOSTILE = "\x1b]0;owned\x07\x1b[2J [bold red]x[/] \u202eevil\x9b31m\r\nnext\\n"
HOSTILE_SHOWN = r"\x1b]0;owned\x07\x1b[2J [bold red]x[/] \u202eevil\x9b31m\r\nnext\\n"
"""What the command line makes of `HOSTILE`."""


def finding(rank: int = 1, text: str = "hidden", **more: Any) -> dict[str, Any]:
    return {
        "rank": rank,
        "text": text,
        "token_ids": [1, 2],
        "token_probabilities": [0.5],
        "mean_probability": 0.98765,
        "sweep_score": 0.98765,
        "score": 0.98765,
        "repetition": {"period": 12, "unit": "u", "share": 0.97},
        "context": "bos",
        "forced_token": {"id": 1, "text": text},
        **more,
    }


def report(verdict: str, findings: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "reasons": ["because of " + HOSTILE],
        "scan": {
            "id": "s1",
            "target": {"model": "org/model", "digest": "d", "architecture": "Llama", "vocabulary_size": 9},
            "settings": settings_for(ScanRequest(model="org/model", beta=50)).model_dump(mode="json"),
            "contexts": [{"name": "bos", "ids": [0], "text": "<s>", "aligned": True}],
            "shard_size": 4096,
            "forced": 9,
            "skipped": [],
            "versions": {},
            "timings_seconds": {},
            "forward_tokens": 90,
            "created_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:00:07Z",
        },
        "findings": findings,
    }


class FakeService:
    """Holds one scan, which ends with the first look unless `ends` is None."""

    def __init__(self) -> None:
        self.ends: str | None = "succeeded"
        self.error: dict[str, Any] | None = None
        self.problem: tuple[int, dict[str, Any], dict[str, str]] | None = None
        self.verdict = "clean"
        self.findings: list[dict[str, Any]] = []
        self.licences: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {}
        self.created: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.keys: list[str | None] = []
        """The `Authorization` of each request."""
        self.url = ""

    def scan(self, status: str) -> dict[str, Any]:
        return {
            "id": "s1",
            "status": status,
            "model": "org/model",
            "request": {"model": "org/model"},
            "progress": {"stage": status, "done": 5, "total": 9, "tokens_per_second": 340.2, "eta_seconds": 61},
            "created_at": "2026-01-01T00:00:00Z",
            "verdict": self.verdict if status == "succeeded" else None,
            "error": self.error if status == "failed" else None,
        }

    def fail(self, status: int, code: str, detail: str = "do this", **headers: str) -> None:
        document = {"title": "t", "status": status, "detail": detail, "code": code, "request_id": "r-9"}
        self.problem = (status, document, {name.replace("_", "-"): value for name, value in headers.items()})

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        self.requests.append(f"{method} {target}")
        if self.problem:
            return self.problem
        url = urlsplit(target)
        if method == "POST":
            self.created.append(json.loads(body))
            return 202, self.scan("queued"), {}
        if method == "DELETE":
            self.ends = "cancelled"
            return 202, self.scan("cancelled"), {}
        if url.path == "/v1/scans":
            return 200, {"items": [self.scan("sweeping"), self.scan("succeeded")]}, {}
        if url.path.endswith("/report"):
            if self.ends != "succeeded":
                return 409, {"title": "t", "status": 409, "detail": "not yet", "code": "report_not_ready"}, {}
            document = report(self.verdict, self.findings)
            return 200, {**document, "scan": {**document["scan"], **self.record}, "licences": self.licences}, {}
        if url.path.endswith("/findings"):
            found = self.findings
            if parse_qs(url.query).get("order") == ["repetition"]:
                found = found[::-1]
            return 200, {"items": found, "partial": False}, {}
        return 200, self.scan(self.ends or "sweeping"), {}

    def wait_for(self, request: str, seconds: float = 20.0) -> None:
        """Until somebody asked for this."""
        deadline = time.monotonic() + seconds
        while request not in self.requests:
            assert time.monotonic() < deadline, f"nobody asked for {request}"
            time.sleep(0.01)


@contextmanager
def serving(fake: FakeService) -> Iterator[None]:
    """The fake answers on a real socket, at `fake.url`."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            fake.keys.append(self.headers.get("authorization"))
            status, document, headers = fake.answer(self.command, self.path, body)
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = respond

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def start_cli(*arguments: str) -> subprocess.Popen[str]:
    """The command line in a process of its own; the environment tells it the address of its service."""
    return subprocess.Popen(
        [sys.executable, "-m", "tokenforce", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal: a shell starts what it puts in the background with SIGINT ignored, tests too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
