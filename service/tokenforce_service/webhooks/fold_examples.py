"""Examples for the OpenAPI document."""

from __future__ import annotations

from typing import Any

WEBHOOK_REQUESTS: dict[str, Any] = {
    "all": {"summary": "Every end of a scan", "value": {"url": "https://example.com/tokenforce"}},
    "some": {
        "summary": "Some events, with a note",
        "value": {
            "url": "https://example.com/tokenforce",
            "events": ["scan.succeeded"],
            "description": "licence audit of uploads",
        },
    },
}

WEBHOOK: dict[str, Any] = {
    "id": "wh_5f0c2a1be9d04c77",
    "url": "https://example.com/tokenforce",
    "events": ["scan.succeeded", "scan.failed", "scan.cancelled"],
    "enabled": True,
    "created_at": "2026-11-24T08:00:00Z",
}

WEBHOOK_WITH_SECRET: dict[str, Any] = {**WEBHOOK, "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDpbKx1bYlBzE="}

DELIVERY: dict[str, Any] = {
    "id": "evt_0b6f2a9c4d1e8f7a5c3b2d1e",
    "webhook_id": "wh_5f0c2a1be9d04c77",
    "type": "scan.succeeded",
    "status": "pending",
    "created_at": "2026-11-24T08:05:00Z",
    "next_attempt_at": "2026-11-24T08:05:07Z",
    "attempts": 1,
    "log": [{"at": "2026-11-24T08:05:00Z", "seconds": 0.112, "status_code": 502, "excerpt": "Bad gateway"}],
    "payload": {
        "type": "scan.succeeded",
        "timestamp": "2026-11-24T08:04:59.813000+00:00",
        "data": {
            "scan_id": "scan_5f0c2a1be9d04c77",
            "status": "succeeded",
            "model": "/models/upload-17",
            "verdict": "hidden_text",
            "licences": [],
            "links": {
                "self": "/v1/scans/scan_5f0c2a1be9d04c77",
                "findings": "/v1/scans/scan_5f0c2a1be9d04c77/findings",
                "report": "/v1/scans/scan_5f0c2a1be9d04c77/report",
            },
        },
    },
}
