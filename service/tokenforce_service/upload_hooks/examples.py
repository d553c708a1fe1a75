"""Examples for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from tokenforce.sdk.upload_hooks import SAMPLE_COMMIT, hub_event

_POLICY: dict[str, Any] = {"repos": ["my-org/*"], "reference": "auto", "accepted_licences": ["Apache-2.0"]}

HOOK_REQUESTS: dict[str, Any] = {
    "hub": {"summary": "Pushes to the models of an organisation", "value": {"kind": "huggingface", "policy": _POLICY}},
    "upload": {
        "summary": "Any marketplace's uploads; whatever carries a registered text is blocked",
        "value": {
            "kind": "upload",
            "policy": {"repos": ["/uploads/*"], "block_on": ["hidden_text", "licence"], "review_on": ["suspicious"]},
        },
    },
}

HOOK: dict[str, Any] = {
    "id": "hook_5f0c2a1be9d04c77",
    "kind": "upload",
    "url": "/v1/hooks/upload?hook=hook_5f0c2a1be9d04c77",
    "policy": _POLICY,
    "created_at": "2026-11-24T08:00:00Z",
}

HOOK_WITH_SECRET: dict[str, Any] = {**HOOK, "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDpbKx1bYlBzE="}

HUB_EVENT: dict[str, Any] = hub_event("my-org/my-model", SAMPLE_COMMIT)

UPLOAD_EVENT: dict[str, Any] = {"model": "/uploads/17", "sha": SAMPLE_COMMIT, "metadata": {"ticket": "17"}}

ANSWER: dict[str, Any] = {
    "hook_id": "hook_5f0c2a1be9d04c77",
    "action": "started",
    "reason": "/uploads/17 is scanned.",
    "scan_id": "scan_5f0c2a1be9d04c77",
    "links": {"scan": "/v1/scans/scan_5f0c2a1be9d04c77", "audit": "/v1/scans/scan_5f0c2a1be9d04c77/audit"},
}

IGNORED: dict[str, Any] = {
    "hook_id": "hook_5f0c2a1be9d04c77",
    "action": "ignored",
    "reason": "Not scanned: no pattern of the policy matches other-org/model.",
    "links": {},
}
