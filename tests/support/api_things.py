"""One thing of each kind that the API has ids of, made when a request needs it."""

from __future__ import annotations

import itertools
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from requests.auth import AuthBase
from schemathesis import Case
from schemathesis.core.parameters import ParameterLocation

from tests.support.ended_scans import finish, scan
from tests.support.refusing_service import Service
from tokenforce.sdk import upload_hooks

HUB, UPLOAD = "/v1/hooks/huggingface", "/v1/hooks/upload"
_POLICY = {"repos": ["*"]}


@dataclass
class Things:
    """Makes a new thing per request, because requests delete and change them."""

    service: Service
    _number: itertools.count[int] = field(default_factory=itertools.count)
    _last: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hub_secret = self._new("/v1/hooks", {"kind": "huggingface", "policy": _POLICY})["secret"]
        self.upload_hook = self._new("/v1/hooks", {"kind": "upload", "policy": _POLICY})

    def put_into(self, case: Case[Any]) -> None:
        """Replace what a schema cannot know, ids and the model, by those of things that exist; not what is wrong."""

        def wrong(part: ParameterLocation) -> bool:
            return case.meta is not None and case.meta.is_negative_at(part)

        if not wrong(ParameterLocation.PATH):
            self._put_ids(case.path_parameters)
        if case.path == UPLOAD and not wrong(ParameterLocation.QUERY):
            case.query["hook"] = self.upload_hook["id"]
        if isinstance(case.body, dict) and "model" in case.body and not wrong(ParameterLocation.BODY):
            case.body["model"] = str(self.service.model)

    def _put_ids(self, ids: MutableMapping[str, Any]) -> None:
        if "webhook_id" in ids:
            ids["webhook_id"] = self._next("/v1/webhooks", {"url": "https://93.184.215.14/hook"})
        if "delivery_id" in ids:
            ids["delivery_id"] = self._new(f"/v1/webhooks/{ids['webhook_id']}/test", {})["id"]
        if "hook_id" in ids:
            ids["hook_id"] = self._next("/v1/hooks", {"kind": "huggingface", "policy": _POLICY})
        if "key_id" in ids:
            ids["key_id"] = self._new("/v1/keys", {"owner": "fuzzed", "scopes": ["scans:read"]})["id"]
        if "fingerprint_id" in ids:
            text = f"Seven quiet herons guard key number {next(self._number)}."
            registered = {"owner": "Example Labs", "licence": "Example Licence", "text": text}
            ids["fingerprint_id"] = self._new("/v1/fingerprints", registered)["id"]
        if "scan_id" in ids:
            ids["scan_id"] = self._scan()

    def _next(self, path: str, body: dict[str, Any]) -> str:
        """A new one in place of the one before, as there can only be so many."""
        if path in self._last:
            self.service.http.delete(f"{path}/{self._last[path]}")
        self._last[path] = self._new(path, body)["id"]
        return self._last[path]

    def _scan(self) -> str:
        """Every other one has ended, with a report."""
        scan_id = scan(self.service.store)
        if next(self._number) % 2:
            finish(self.service.store, scan_id)
        return scan_id

    def _new(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.service.http.post(path, json=body)
        assert answer.is_success, answer.text
        made: dict[str, Any] = answer.json()
        return made


class Proof(AuthBase):
    """Sends to the hooks what their senders prove themselves with, over the bytes that are really sent."""

    def __init__(self, things: Things) -> None:
        self._things = things

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        path, body = request.path_url.partition("?")[0], request.body or b""
        if path == HUB:
            request.headers["X-Webhook-Secret"] = self._things.hub_secret
        elif path == UPLOAD:
            content = body if isinstance(body, bytes) else str(body).encode()
            with suppress(UnicodeDecodeError):  # Standard Webhooks sign text; other bytes go out unsigned
                content.decode()
                request.headers.update(upload_hooks.signed(content, self._things.upload_hook["secret"]))
        return request
