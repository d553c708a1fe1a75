"""The Python of README.md and client/README.md, against a real gateway; scans end as soon as they are there.

What the receiver of webhooks does is in tests/unit/sdk/test_verify_webhook.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.documented import blocks
from tests.support.fake_service import finding
from tests.support.keys import issue
from tests.support.refusing_service import Service, running_service
from tests.support.scan_results import example_report
from tokenforce import Client, ScanStatus
from tokenforce.wire.findings import Finding

EXAMPLES = [code for page, code in blocks("python") if page in ("README", "client")]
TEXT = "a text that was found"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("documented")) as running, _ending(running):
        yield running


class _ending:
    """Takes the part of the workers: every scan gets a report with one finding."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        store, url = self._service.store, str(self._service.http.base_url)
        with Client(url, key=issue(store.connection)) as client:
            while not self._stop.wait(0.05):
                for scan in client.scans.iter(status=ScanStatus.queued):
                    store.advance(scan.id, ScanStatus.aggregating, ScanStatus.queued)
                    report = example_report(scan.id)
                    found = Finding.model_validate(finding(text=TEXT))
                    assert store.finish(scan.id, report.model_copy(update={"findings": [found]}))


@pytest.fixture
def key(service: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    key = issue(service.store.connection)
    monkeypatch.setenv("TOKENFORCE_URL", str(service.http.base_url))
    monkeypatch.setenv("TOKENFORCE_KEY", key)
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_")
    return key


def run(example: str, service: Service, key: str) -> dict[str, Any]:
    """Executed as it is, but for what exists here only under other names."""
    here = {
        "http://127.0.0.1:8000": str(service.http.base_url).rstrip("/"),
        "tf_…": key,
        "/models/upload-17": str(service.model),
        "https://example.com/": "https://1.1.1.1/",  # its name cannot be resolved here
    }
    for written, meant in here.items():
        example = example.replace(written, meant)
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    return names


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_runs(service: Service, key: str, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(example, service, key)
    assert (repr(TEXT) in capsys.readouterr().out) == ("repr(finding.text)" in example)


def test_the_resources_have_examples() -> None:
    code = "\n".join(EXAMPLES)
    for used in ("client.scans", "client.hooks", "client.webhooks", "client.stats", "verify_webhook", "AsyncClient"):
        assert used in code
