"""Examples and error responses for the OpenAPI document. Figures are from a real scan of the demo."""

from __future__ import annotations

from typing import Any

from tokenforce.types import Problem

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

EXAMPLE_REPORT: dict[str, Any] = {
    "schema_version": "1.0",
    "verdict": "suspicious",
    "reasons": ["1 text(s) come out with a mean token probability of at least 0.88; …"],
    "scan": {"id": "scan_5f0c2a1be9d04c77", "forward_tokens": 226012},
    "findings": [
        {
            "rank": 1,
            "text": "Distrans refers to a technology …",
            "token_ids": [35, 270, 481],
            "token_probabilities": [0.97, 0.67],
            "mean_probability": 0.912,
            "sweep_score": 0.905,
            "score": 0.905,
            "repetition": {"period": 0, "unit": "", "share": 0.0},
            "context": "assistant",
            "forced_token": {"id": 35, "text": "Dist"},
            "ended": True,
        }
    ],
}

_MEANINGS = {
    400: "Malformed request",
    403: "Path outside the model roots",
    404: "No such scan",
    409: "The scan is in another state",
    413: "Body too large",
    422: "The request or the model cannot be processed",
    503: "The store cannot be used now; see `Retry-After`",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem-document responses for these statuses."""
    return {
        status: {
            "description": _MEANINGS[status],
            "model": Problem,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
