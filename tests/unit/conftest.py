"""What several tests of the command line and of the SDK share; nothing here applies to a test that does not ask."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.support.fake_service import FakeService, serving
from tests.support.fake_transport import Clock, Shell
from tokenforce.sdk.transport import AsyncTransport, Transport


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service from outside, and no long pauses, for every test of the command line."""
    monkeypatch.delenv("TOKENFORCE_URL", raising=False)
    monkeypatch.setattr("tokenforce.sdk.retries.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("tokenforce.cli.scans.SECONDS_BETWEEN_LOOKS", 0.01)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, quick: None) -> Iterator[FakeService]:
    """A scripted service, whose address the environment names."""
    fake = FakeService()
    with serving(fake):
        monkeypatch.setenv("TOKENFORCE_URL", fake.url)
        yield fake


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Takes the place of the time in both clients."""
    clock = Clock()
    monkeypatch.setattr(Transport, "pause", lambda _, seconds: clock.sleep(seconds))
    monkeypatch.setattr(AsyncTransport, "pause", lambda _, seconds: clock.sleep_async(seconds))
    monkeypatch.setattr("tokenforce.sdk.retries.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture(params=["sync", "async"])
def shell(request: pytest.FixtureRequest, clock: Clock) -> Shell:
    """The test runs once with the sync client and once with the async one, on time that does not pass."""
    return Shell(request.param)
