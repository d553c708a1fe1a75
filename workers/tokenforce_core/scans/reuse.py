"""Finds an earlier report that answers a new scan: same weights, same request.

The key contains the owner, every field of the plan that decides the result (also forced ids), the ids of the
registered fingerprints, and the versions of this program and of the engine. A report is offered for reuse only if its
key did not change while the scan ran.

Keys: `tf:reuse:<SHA-256 of all that>` id of the scan, as long as its report is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from redis import Redis

from tokenforce_core.plan.plan import Plan
from tokenforce_core.queues.workers import engine_facts
from tokenforce_core.runtime.text_redis import text_redis

# Fields that do not decide a result: locations, and the name of the target. All other fields count, also the record of
# the reference: the verdict depends on who named it, and the reasons name it.
_ELSEWHERE: dict[str, Any] = {
    "path": True,
    "tokenizer_path": True,
    "adapter": True,
    "queue": True,
    "hashed": True,
    "target": {"model", "revision"},
    "reference": {"path": True, "hashed": True},
}


class ReusableReports:
    """Raises redis-py's exceptions when Redis cannot be used.

    Args:
        retention_seconds: as long as reports are kept.
    """

    def __init__(self, connection: Redis, retention_seconds: int) -> None:
        self._redis = text_redis(connection)
        self._retention = retention_seconds

    def key(self, owner: str, plan: Plan, fingerprint_ids: Iterable[str]) -> str:
        """The key of a scan with this plan, as of now."""
        # Contexts are drawn anew for each scan, and recorded in its report; the longest one decides `max_length`.
        drawn_anew = {} if plan.drawn_by_request else {"drawn": True, "max_length": True}
        whole = {
            "owner": owner,
            "plan": plan.model_dump(mode="json", exclude=_ELSEWHERE | drawn_anew),
            "adapted": plan.adapter is not None,
            "fingerprints": sorted(fingerprint_ids),
            "tokenforce": version("tokenforce"),
            "engine": engine_facts(self._redis),
        }
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def find(self, key: str) -> str | None:
        """The id of the scan whose report answers this one."""
        return self._redis.get(f"tf:reuse:{key}")

    def note(self, scan_id: str, key: str) -> None:
        """Record the key of a scan when it is planned."""
        self._redis.set(f"tf:scan:{scan_id}:reuse", key, ex=self._retention)

    def offer(self, scan_id: str, key: str, engine: Mapping[str, str]) -> bool:
        """Offer the report of a scan to later ones; False if its key has changed since it was planned.

        Args:
            key: of the scan at its end.
            engine: facts of the engine that it ran on.
        """
        planned = self._redis.getdel(f"tf:scan:{scan_id}:reuse")
        another = any(engine.get(name, value) != value for name, value in engine_facts(self._redis).items())
        if planned != key or another:
            return False
        self._redis.set(f"tf:reuse:{key}", scan_id, ex=self._retention)
        return True
