"""Which report answers a new scan too: that of a scan of the same weights that was asked the same.

Same means: one owner, every field of the plan that decides the result (so also forced ids and a sample), the
fingerprints registered, and the versions of this program and of the engine. A scan is offered for reuse only if none of
these has changed while it ran. Removing a fingerprint and adding it again gives it another id, and so another key.

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

# Where things lie and what the target is called; whatever a later version adds to a plan counts. So does the record of
# the reference: the verdict hangs on who named it, and the reasons name it.
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
        """What a scan's result hangs on, as things are now."""
        whole = {
            "owner": owner,
            "plan": plan.model_dump(mode="json", exclude=_ELSEWHERE),
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
        """Remember what a scan is planned on."""
        self._redis.set(f"tf:scan:{scan_id}:reuse", key, ex=self._retention)

    def offer(self, scan_id: str, key: str, engine: Mapping[str, str]) -> bool:
        """Let later scans have the report of this one; False if something has changed since it was planned.

        Args:
            key: as things are at its end.
            engine: what it ran on.
        """
        planned = self._redis.getdel(f"tf:scan:{scan_id}:reuse")
        another = any(engine.get(name, value) != value for name, value in engine_facts(self._redis).items())
        if planned != key or another:
            return False
        self._redis.set(f"tf:reuse:{key}", scan_id, ex=self._retention)
        return True
