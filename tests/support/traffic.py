"""A gateway in-process with settings of the test's own, and one tiny model that it may scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.tiny_model import build_tiny_model
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

Gateway = Callable[..., TestClient]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build_tiny_model(folder, planted=None)
    return folder


@pytest.fixture
def gateway(redis: Redis, tiny: Path) -> Iterator[Gateway]:
    """Starts a gateway with these settings; requests carry an admin's key unless `headers` are given."""
    with ExitStack() as ending:

        def start(headers: dict[str, str] | None = None, **settings: Any) -> TestClient:
            app = create_app(ServiceSettings(model_roots=[tiny.parent], **settings), redis)
            carried = bearer(redis) if headers is None else headers
            return ending.enter_context(TestClient(app, headers=carried, raise_server_exceptions=False))

        yield start
