"""A gateway whose webhooks may go to loopback, a receiver there, and quick retries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.ended_scans import OWNER
from tests.support.keys import bearer
from tests.support.receiver import Receiver, receiving
from tests.support.sending import LOOPBACK
from tokenforce import Client
from tokenforce.wire.keys import Scope
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings
from tokenforce_service.webhooks import backoff


@pytest.fixture
def http(redis: Redis) -> Iterator[TestClient]:
    app = create_app(ServiceSettings(webhook_allow=LOOPBACK, webhook_http=True), redis)
    with TestClient(app, headers=bearer(redis, Scope.hooks, Scope.scans_read, owner=OWNER)) as client:
        yield client


@pytest.fixture
def sdk(http: TestClient) -> Iterator[Client]:
    with Client(http_client=cast(Any, http)) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come within milliseconds."""
    monkeypatch.setattr(backoff, "SHORTEST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(backoff, "FIRST_PAUSE_SECONDS", 0.01)
