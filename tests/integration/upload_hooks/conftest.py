"""A gateway whose callers hold keys of two owners, and hooks of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx
import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.support.keys import bearer
from tests.support.uploads import message
from tokenforce import Client, HookSecret
from tokenforce.wire.keys import Scope
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

OWNER = "market"
Post = Callable[..., httpx.Response]


@pytest.fixture
def settings() -> ServiceSettings:
    return ServiceSettings()


@pytest.fixture
def http(redis: Redis, settings: ServiceSettings) -> Iterator[TestClient]:
    app = create_app(settings, redis)
    with TestClient(app, headers=bearer(redis, Scope.hooks, Scope.scans_read, owner=OWNER)) as client:
        yield client


@pytest.fixture
def sdk(http: TestClient) -> Iterator[Client]:
    with Client(http_client=cast(Any, http)) as client:
        yield client


@pytest.fixture
def hub_hook(sdk: Client) -> HookSecret:
    return sdk.hooks.create(kind="huggingface", policy={"repos": ["org/*"]})


@pytest.fixture
def upload_hook(sdk: Client) -> HookSecret:
    return sdk.hooks.create(kind="upload", policy={"repos": ["org/*", "/uploads/*"]})


@pytest.fixture
def from_hub(http: TestClient) -> Post:
    """Posts a body as the Hub does, without a key."""
    keyless = TestClient(http.app, raise_server_exceptions=False)

    def post(body: bytes, secret: str | None) -> httpx.Response:
        headers: dict[bytes, bytes] = {} if secret is None else {b"X-Webhook-Secret": secret.encode("latin-1")}
        answer = keyless.post("/v1/hooks/huggingface", content=body, headers=headers)
        return cast(httpx.Response, answer)

    return post


@pytest.fixture
def from_sender(http: TestClient) -> Post:
    """Posts a signed message to an upload hook; the options are those of `message`."""
    keyless = TestClient(http.app, raise_server_exceptions=False)

    def post(hook: HookSecret, *, secret: str | None = None, **options: Any) -> httpx.Response:
        return cast(httpx.Response, keyless.post(hook.url, **message(secret or hook.secret, **options)))

    return post
