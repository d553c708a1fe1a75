"""Answers in the OpenAPI document: their examples, and the errors that each route sends."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from tokenforce.wire.problems import Problem

PROBLEM = "application/problem+json"

_MEANINGS = {
    400: "Malformed request",
    401: "There is no key, or it is not valid (any more); see `WWW-Authenticate`",
    403: "The key lacks the scope, a path is outside the model roots, or the key that registered a hook has ended",
    404: "There is no such thing, or it belongs to another owner",
    408: "The body arrived too slowly",
    409: "Not possible in the current state",
    413: "The body is too large",
    429: "A rate or a quota is used up, or too many streams are open; see `Retry-After`",
    422: "The request or the model cannot be processed",
    503: "The store or a name server cannot be used now, or the service is at capacity; see `Retry-After`",
}


def answer_of(example: dict[str, Any]) -> dict[str, Any]:
    """The documentation of an answer with this example."""
    return {"content": {"application/json": {"example": example}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem documents for these statuses. The app adds those for a missing key and for a slow body."""
    return {status: {**_documented(status), "model": Problem} for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _MEANINGS[status], "content": content}


class DocumentedApp(FastAPI):
    """An app whose document describes the errors that it really sends.

    FastAPI declares its own 422 document, which errors.py replaces, and adds a media type to each declared answer.
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
