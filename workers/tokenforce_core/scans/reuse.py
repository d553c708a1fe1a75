"""Which report answers a new scan too: that of a scan of the same weights that was asked the same.

Same means: one owner, every field of the plan that decides the result (so also forced ids and a sample), the
fingerprints registered, and the versions of this program and of the engine. A scan is offered for reuse only if none of
these has changed while it ran. Removing a fingerprint and adding it again gives it another id, and so another key.

Keys: `tf:reuse:<SHA-256 of all that>` id of the scan, as long as its report is kept · `tf:engine` what the worker
that started last runs on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, cast

from redis import Redis

from tokenforce_core.plan.plan import Plan

ENGINE = "tf:engine"
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
        self._connection = connection
        self._retention = retention_seconds

    def key(self, owner: str, plan: Plan, fingerprint_ids: Iterable[str]) -> str:
        """What a scan's result hangs on, as things are now."""
        whole = {
            "owner": owner,
            "plan": plan.model_dump(mode="json", exclude=_ELSEWHERE),
            "adapted": plan.adapter is not None,
            "fingerprints": sorted(fingerprint_ids),
            "tokenforce": version("tokenforce"),
            "engine": self.engine(),
        }
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def find(self, key: str) -> str | None:
        """The id of the scan whose report answers this one."""
        found = self._connection.get(f"tf:reuse:{key}")
        return None if found is None else cast(bytes, found).decode()

    def note(self, scan_id: str, key: str) -> None:
        """Remember what a scan is planned on."""
        self._connection.set(f"tf:scan:{scan_id}:reuse", key, ex=self._retention)

    def offer(self, scan_id: str, key: str, engine: Mapping[str, str]) -> bool:
        """Let later scans have the report of this one; False if something has changed since it was planned.

        Args:
            key: as things are at its end.
            engine: what it ran on.
        """
        planned = self._connection.getdel(f"tf:scan:{scan_id}:reuse")
        another = any(engine.get(name, value) != value for name, value in self.engine().items())
        if planned != key.encode() or another:
            return False
        self._connection.set(f"tf:reuse:{key}", scan_id, ex=self._retention)
        return True

    def engine(self) -> dict[str, str]:
        raw = cast(Mapping[bytes, bytes], self._connection.hgetall(ENGINE))
        return {name.decode(): value.decode() for name, value in raw.items()}


def publish_engine(connection: Redis, facts: Mapping[str, str]) -> None:
    """What the engine of a worker is: versions and device. Reports of another one are not reused."""
    with connection.pipeline() as pipe:
        pipe.delete(ENGINE)
        pipe.hset(ENGINE, mapping=cast(Any, dict(facts)))
        pipe.execute()
