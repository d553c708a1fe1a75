"""One thing of each kind that the API has ids of, made when a request needs it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from schemathesis import Case

from tests.support.ended_scans import finish, scan
from tests.support.refusing_service import Service


@dataclass
class Things:
    """Makes a new thing per request, because requests delete and change them."""

    service: Service
    _number: itertools.count[int] = field(default_factory=itertools.count)
    _last_webhook: str = "none"

    def put_into(self, case: Case[Any]) -> None:
        """Replace the ids in the path, and the model, by those of things that exist."""
        ids = case.path_parameters
        if "webhook_id" in ids:
            ids["webhook_id"] = self._webhook()
        if "delivery_id" in ids:
            ids["delivery_id"] = self._made(f"/v1/webhooks/{ids['webhook_id']}/test", {})
        if "key_id" in ids:
            ids["key_id"] = self._made("/v1/keys", {"owner": "fuzzed", "scopes": ["scans:read"]})
        if "fingerprint_id" in ids:
            text = f"Seven quiet herons guard key number {next(self._number)}."
            registered = {"owner": "Example Labs", "licence": "Example Licence", "text": text}
            ids["fingerprint_id"] = self._made("/v1/fingerprints", registered)
        if "scan_id" in ids:
            ids["scan_id"] = self._scan()
        if isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = str(self.service.model)

    def _webhook(self) -> str:
        """In place of the one before, as there can only be so many."""
        self.service.http.delete(f"/v1/webhooks/{self._last_webhook}")
        self._last_webhook = self._made("/v1/webhooks", {"url": "https://93.184.215.14/hook"})
        return self._last_webhook

    def _scan(self) -> str:
        """Every other one has ended, with a report."""
        scan_id = scan(self.service.store)
        if next(self._number) % 2:
            finish(self.service.store, scan_id)
        return scan_id

    def _made(self, path: str, body: dict[str, Any]) -> str:
        answer = self.service.http.post(path, json=body)
        assert answer.is_success, answer.text
        made: str = answer.json()["id"]
        return made
