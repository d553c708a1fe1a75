"""Results of the contrast stage in Redis, and the reference's top tokens that later scans of the same base reuse.

Keys: `tf:scan:<id>:contrast` hash `contrast-<shard>` → result · `tf:reference:<digest>-<dtype>:<block>` one block.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

from pydantic import TypeAdapter
from redis import Redis

from tokenforce_core.contrast.shard import ShardContrast
from tokenforce_core.scans.scripts import COMMIT_CONTRAST
from tokenforce_core.scans.store import CONTRAST_PART

_RESULT = TypeAdapter(ShardContrast)


class ContrastStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._commit = connection.register_script(COMMIT_CONTRAST)

    def commit(self, scan_id: str, shard: int, result: ShardContrast, entries: int, tokens: int) -> int:
        """Store a shard's result once; returns how many shards are committed now."""
        keys = [f"tf:scan:{scan_id}", f"tf:scan:{scan_id}:contrast", f"tf:scan:{scan_id}:live"]
        committed = self._commit(
            keys=keys, args=[f"{CONTRAST_PART}{shard}", _RESULT.dump_json(result), entries, tokens, time.time()]
        )
        return int(cast(int, committed))

    def committed_shards(self, scan_id: str) -> set[int]:
        keys = cast(Iterable[bytes], self._connection.hkeys(f"tf:scan:{scan_id}:contrast"))
        return {int(key.decode().removeprefix(CONTRAST_PART)) for key in keys}

    def results(self, scan_id: str) -> list[ShardContrast]:
        """All shards' results, context by context in the order of shards."""
        keys = [f"{CONTRAST_PART}{shard}" for shard in sorted(self.committed_shards(scan_id))]
        raw = cast(Iterable[bytes], self._connection.hmget(f"tf:scan:{scan_id}:contrast", keys) if keys else [])
        return [_RESULT.validate_json(result) for result in raw]


class ReferenceBlocks:
    """Implements `reference_tops.Blocks` for one reference and compute type.

    Args:
        retention_seconds: a block that nobody has read for so long is forgotten.
    """

    def __init__(self, connection: Redis, digest: str, dtype: str, retention_seconds: int) -> None:
        self._connection = connection
        self._prefix = f"tf:reference:{digest.removeprefix('sha256:')[:32]}-{dtype}:"
        self._retention = retention_seconds

    def get(self, name: str) -> bytes | None:
        return cast("bytes | None", self._connection.getex(self._prefix + name, ex=self._retention))

    def put(self, name: str, block: bytes) -> None:
        self._connection.set(self._prefix + name, block, ex=self._retention)
