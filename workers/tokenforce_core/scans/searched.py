"""What a scan has read from the weights, and the lens of a pair of models that later scans reuse.

Keys: `tf:lens:<digests>-<settings>` the lens of one target and one reference.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from tokenforce.wire.report import WeightRecord
from tokenforce_core.forcing.trace import Trace
from tokenforce_core.lens.result import WeightLens
from tokenforce_core.plan.plan import Plan
from tokenforce_core.plan.vocabulary import NOT_ASKED_FOR
from tokenforce_core.runtime.text_redis import text_redis


class Searched(BaseModel):
    """The words for the report, and the texts that the search found. `weights` is None if none were compared."""

    model_config = ConfigDict(frozen=True)

    weights: WeightRecord | None = None
    texts: list[Trace] = []


class Lenses:
    """The lens of each pair of models.

    Args:
        retention_seconds: one that was not read for so long is deleted.
    """

    def __init__(self, connection: Redis, retention_seconds: int) -> None:
        self._redis = text_redis(connection)
        self._retention = retention_seconds

    def get(self, plan: Plan) -> WeightLens | None:
        raw = self._redis.getex(_key(plan), ex=self._retention)
        try:
            return None if raw is None else WeightLens.model_validate_json(raw)
        except ValidationError:  # of another version: it is made again
            return None

    def put(self, plan: Plan, lens: WeightLens) -> None:
        self._redis.set(_key(plan), lens.model_dump_json(), ex=self._retention)


def _key(plan: Plan) -> str:
    """Everything that decides a lens: version, both digests, the settings, and the ids that may be forced."""
    assert plan.reference is not None
    assert plan.settings.lens is not None
    parts = (
        version("tokenforce"),
        plan.target.digest,
        plan.reference.record.digest,
        plan.settings.lens.model_dump_json(),
        *(group.model_dump_json() for group in plan.skipped if group.reason != NOT_ASKED_FOR),
    )
    return f"tf:lens:{hashlib.sha256(' '.join(parts).encode()).hexdigest()}"
