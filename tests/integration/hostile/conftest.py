"""A gateway that cuts slow requests off soon, one thing of each kind that paths name, and the tables of its routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.refusing_service import Service, running_service
from tokenforce.sdk import upload_hooks
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

RECEIVE_SECONDS = 2.0
HUB, UPLOAD = "/v1/hooks/huggingface", "/v1/hooks/upload"
PATHS: dict[str, dict[str, Any]] = create_app(ServiceSettings()).openapi()["paths"]
WITH_BODY = [
    (method, path) for path, methods in PATHS.items() for method, found in methods.items() if "requestBody" in found
]
LISTS = [path for path, methods in PATHS.items() if '"cursor"' in json.dumps(methods.get("get", {}).get("parameters"))]
WITH_ID = sorted(path for path in PATHS if "{" in path)


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    plenty = {f"TOKENFORCE_{kind}_PER_MINUTE": "1000000" for kind in ("READS", "WRITES", "KEYLESS_REQUESTS")}
    plenty |= {"TOKENFORCE_ACTIVE_SCANS_PER_KEY": "10000", "TOKENFORCE_RECEIVE_SECONDS": str(RECEIVE_SECONDS)}
    with running_service(tmp_path_factory.mktemp("hostile"), **plenty) as running:
        yield running


@dataclass(frozen=True)
class Targets:
    """A scan, a webhook and two hooks that exist."""

    scan_id: str
    webhook_id: str
    hub_hook: dict[str, Any]
    upload_hook: dict[str, Any]

    def path(self, template: str) -> str:
        """With the ids of what exists."""
        filled = template.format(scan_id=self.scan_id, webhook_id=self.webhook_id, hook_id=self.upload_hook["id"])
        return f"{filled}?hook={self.upload_hook['id']}" if template == UPLOAD else filled

    def proof(self, template: str, body: bytes) -> dict[str, str]:
        """What the hooks want of their senders, so that a body is looked at."""
        if template == HUB:
            return {"X-Webhook-Secret": self.hub_hook["secret"]}
        return upload_hooks.signed(body, self.upload_hook["secret"]) if template == UPLOAD else {}


@pytest.fixture(scope="package")
def targets(service: Service) -> Targets:
    def made(path: str, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = service.http.post(path, json=body).json()
        return found

    policy = {"repos": ["*"]}
    return Targets(
        service.accepted(),
        made("/v1/webhooks", {"url": "https://93.184.215.14/hook"})["id"],
        made("/v1/hooks", {"kind": "huggingface", "policy": policy}),
        made("/v1/hooks", {"kind": "upload", "policy": policy}),
    )
