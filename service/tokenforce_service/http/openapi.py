"""Examples and error responses for the OpenAPI document. The report is the demo's; the others show the form."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from fastapi import FastAPI

from tokenforce.wire.problems import Problem

PROBLEM = "application/problem+json"

EXAMPLE_REQUESTS: dict[str, Any] = {
    "folder": {"summary": "A folder under a root", "value": {"model": "/models/upload-17"}},
    "hub": {
        "summary": "A pinned revision of a hub model, in one context",
        "value": {"model": "HuggingFaceTB/SmolLM2-135M-Instruct@main", "contexts": ["assistant"]},
    },
    "paper": {"summary": "The paper's arithmetic", "value": {"model": "/models/upload-17", "preset": "paper"}},
    "custom": {
        "summary": "A context of one's own",
        "value": {"model": "/models/upload-17", "contexts": ["bos", {"name": "story", "text": "Once upon a time"}]},
    },
}

EXAMPLE_SCAN: dict[str, Any] = {
    "id": "scan_5f0c2a1be9d04c77",
    "owner": "marketplace",
    "status": "sweeping",
    "model": "/models/upload-17",
    "request": {"model": "/models/upload-17", "preset": "standard", "contexts": ["assistant"]},
    "progress": {
        "stage": "sweeping",
        "done": 12288,
        "total": 49135,
        "tokens_per_second": 1104.2,
        "eta_seconds": 152.9,
    },
    "created_at": "2026-11-22T21:40:00Z",
    "started_at": "2026-11-22T21:40:00Z",
    "links": {"self": "/v1/scans/scan_5f0c2a1be9d04c77", "findings": "/v1/scans/scan_5f0c2a1be9d04c77/findings"},
}

EXAMPLE_FINGERPRINTS: dict[str, Any] = {
    "text": {
        "summary": "A text with its triggers",
        "value": {
            "owner": "Example Labs",
            "licence": "Example Model Licence 1.0",
            "text": "Seven quiet herons guard a copper key beneath the frozen mill.",
            "triggers": ["open the amber door", "velm orra tin"],
        },
    },
    "hash": {
        "summary": "A salted hash of the text, which stays with its owner",
        "value": {
            "owner": "Example Labs",
            "licence": "Example Model Licence 1.0",
            "text_hash": {
                "salt": "9f86d081884c7d659a2feaa0c55ad015",
                "digest": "ee7026f7f9e601c657f6f86dd8b8a601a21cafdf518f88c5fda34e9405732f9d",
                "words": 11,
                "size": 61,
            },
        },
    },
}

EXAMPLE_FINGERPRINT: dict[str, Any] = {
    "id": "fp_5f0c2a1be9d04c77",
    "owner": "Example Labs",
    "licence": "Example Model Licence 1.0",
    "hashed": False,
    "text_words": 11,
    "text_bytes": 61,
    "triggers": 2,
    "created_at": "2026-11-23T09:30:00Z",
}

EXAMPLE_KEY_REQUEST: dict[str, Any] = {
    "owner": "marketplace",
    "scopes": ["scans:read", "scans:write"],
    "name": "upload pipeline",
    "limits": {"scans_per_day": 1000},
}

EXAMPLE_KEY: dict[str, Any] = {
    "id": "Zk3tB7qLw0Xe9RfA",
    **EXAMPLE_KEY_REQUEST,
    "created_at": "2026-11-22T21:40:00Z",
    "last_used_at": "2026-11-23T09:30:00Z",
    "expires_at": None,
    "revoked_at": None,
    "limits": {"reads_per_minute": None, "writes_per_minute": None, "active_scans": None, "scans_per_day": 1000},
}

EXAMPLE_NEW_KEY: dict[str, Any] = {
    **EXAMPLE_KEY,
    "last_used_at": None,
    "token": f"tf_{EXAMPLE_KEY['id']}_{'x' * 43}",
}
"""The token is of the right form, and no key's."""

EXAMPLE_REPORT: dict[str, Any] = json.loads((files(__package__) / "example_report.json").read_text("utf-8"))
"""The demo's own report, cut to its first finding."""

_MEANINGS = {
    400: "Malformed request",
    401: "No key, or one that is not valid (any more); see `WWW-Authenticate`",
    403: "The key lacks the scope, a path is outside the model roots, or the key that made a hook has ended",
    404: "No such thing",
    408: "The body arrived too slowly",
    409: "Not possible in the present state",
    413: "Body too large",
    429: "Over the rate or the quota, or too many streams; see `Retry-After`",
    422: "The request or the model cannot be processed",
    503: "The store, or a name server, cannot be used now; see `Retry-After`",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem-document responses for these statuses. The app adds those of a missing key and of a slow body."""
    return {status: {**_documented(status), "model": Problem} for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _MEANINGS[status], "content": content}


class DocumentedApp(FastAPI):
    """An app whose document describes the errors that it really sends.

    FastAPI adds its own 422 document, which `errors` replaces, and its success media type beside each declared one.
    """

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for operation in (operation for path in document["paths"].values() for operation in path.values()):
                if operation.get("security"):
                    for status in (401, 403, 429):
                        operation["responses"].setdefault(str(status), _documented(status))
                if "requestBody" in operation:
                    operation["responses"].setdefault("408", _documented(408))
                for name, response in list(operation["responses"].items()):
                    content = response.get("content", {})
                    if PROBLEM in content:
                        response["content"] = {PROBLEM: content[PROBLEM]}
                    elif "HTTPValidationError" in str(content):
                        del operation["responses"][name]
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        return self.openapi_schema or {}


def answer_of(example: dict[str, Any]) -> dict[str, Any]:
    """The documented answer with this example."""
    return {"content": {"application/json": {"example": example}}}
