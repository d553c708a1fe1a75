"""Results of a scan's stages in Redis, and the reference's top tokens that later scans of the same base reuse.

Keys: `tf:scan:<id>:live` hash of uncommitted progress · `…:shards` hash shard → traces · `…:best:<context>` the K best
scores · `…:searched` what the weights said · `…:contrast` hash `contrast-<shard>` → result · `…:confirmed` traces ·
`tf:reference:<digest>-<dtype>:<block>` one block.
"""

from __future__ import annotations

import time

from pydantic import TypeAdapter
from redis import Redis

from tokenforce_core.contrast.shard import ShardContrast
from tokenforce_core.forcing.sweep import best_first
from tokenforce_core.forcing.trace import TRACES, Trace
from tokenforce_core.runtime.text_redis import text_redis
from tokenforce_core.scans.row import scan_key
from tokenforce_core.scans.scripts import (
    COMMIT_CONFIRMED,
    COMMIT_CONTRAST,
    COMMIT_SEARCHED,
    COMMIT_SHARD,
    NOTE_PROGRESS,
)
from tokenforce_core.scans.searched import Searched

CONTRAST_PART = "contrast-"
"""Prefix of the parts of work that are contrast shards."""
_CONTRAST = TypeAdapter(ShardContrast)


class WorkStore:
    """Results of workers. A result is stored once, even if its job runs twice.

    Raises redis-py's exceptions when Redis cannot be used.

    Args:
        retention_seconds: as long as reports are kept.
    """

    def __init__(self, connection: Redis, retention_seconds: int = 30 * 86400) -> None:
        self._redis = text_redis(connection)
        self._retention = retention_seconds
        self._note = self._redis.register_script(NOTE_PROGRESS)
        self._commit_shard = self._redis.register_script(COMMIT_SHARD)
        self._commit_contrast = self._redis.register_script(COMMIT_CONTRAST)
        self._commit_searched = self._redis.register_script(COMMIT_SEARCHED)
        self._commit_confirmed = self._redis.register_script(COMMIT_CONFIRMED)

    def note_progress(self, scan_id: str, part: str, done: int, tokens: int) -> None:
        """Record what is done of an uncommitted part: a shard's index, `contrast-<index>`, `search` or `confirm`."""
        committed = "contrast" if part.startswith(CONTRAST_PART) else "shards"
        keys = [scan_key(scan_id), scan_key(scan_id, "live"), scan_key(scan_id, committed)]
        self._note(keys=keys, args=[part, f"{done} {tokens}", time.time(), tokens])

    # --- search from the weights ----------------------------------------------------------------

    def set_search_total(self, scan_id: str, total: int) -> None:
        self._redis.hset(scan_key(scan_id), "search_total", str(total))

    def commit_searched(self, scan_id: str, searched: Searched, tokens: int) -> None:
        """Store what the weights said, once."""
        keys = [scan_key(scan_id), scan_key(scan_id, "searched"), scan_key(scan_id, "live")]
        self._commit_searched(keys=keys, args=[searched.model_dump_json(), self._retention, tokens, time.time()])

    def is_searched(self, scan_id: str) -> bool:
        return bool(self._redis.exists(scan_key(scan_id, "searched")))

    def searched(self, scan_id: str) -> Searched:
        """What the weights said; nothing if they were not compared."""
        raw = self._redis.get(scan_key(scan_id, "searched"))
        return Searched() if raw is None else Searched.model_validate_json(raw)

    # --- sweep ----------------------------------------------------------------------------------

    def commit_shard(
        self, scan_id: str, shard: int, context: int, swept: list[Trace], entries: int, tokens: int, keep: int
    ) -> int:
        """Store a shard's result once; returns how many shards are committed now."""
        scores = [x for s in swept for x in (s.sweep_score, f"{s.forced_id}")]
        _, committed = self._commit_shard(
            keys=[
                scan_key(scan_id),
                scan_key(scan_id, "shards"),
                scan_key(scan_id, "live"),
                scan_key(scan_id, f"best:{context}"),
            ],
            args=[shard, TRACES.dump_json(swept), entries, tokens, keep, time.time(), *scores],
        )
        return int(committed)

    def committed_shards(self, scan_id: str) -> set[int]:
        return {int(key) for key in self._redis.hkeys(scan_key(scan_id, "shards"))}

    def kth_best(self, scan_id: str, context: int, keep: int) -> float:
        """The K-th best score that any shard of this context has reached, 0 while there are fewer."""
        best = scan_key(scan_id, f"best:{context}")
        kth: list[tuple[str, float]] = self._redis.zrevrange(best, keep - 1, keep - 1, withscores=True)
        return kth[0][1] if kth else 0.0

    def swept(self, scan_id: str) -> list[Trace]:
        """All shards' candidates in total order."""
        shards = self._redis.hvals(scan_key(scan_id, "shards"))
        merged = [trace for shard in shards for trace in TRACES.validate_json(shard)]
        return sorted(merged, key=best_first)

    # --- contrast -------------------------------------------------------------------------------

    def commit_contrast(self, scan_id: str, shard: int, result: ShardContrast, entries: int, tokens: int) -> int:
        """Store a shard's result once; returns how many shards are committed now."""
        keys = [scan_key(scan_id), scan_key(scan_id, "contrast"), scan_key(scan_id, "live")]
        committed: int = self._commit_contrast(
            keys=keys, args=[f"{CONTRAST_PART}{shard}", _CONTRAST.dump_json(result), entries, tokens, time.time()]
        )
        return committed

    def contrasted_shards(self, scan_id: str) -> set[int]:
        keys = self._redis.hkeys(scan_key(scan_id, "contrast"))
        return {int(key.removeprefix(CONTRAST_PART)) for key in keys}

    def contrast(self, scan_id: str) -> list[ShardContrast]:
        """All shards' results, context by context in the order of shards."""
        keys = [f"{CONTRAST_PART}{shard}" for shard in sorted(self.contrasted_shards(scan_id))]
        raw = self._redis.hmget(scan_key(scan_id, "contrast"), keys) if keys else []
        # None only if the scan ends meanwhile: its parts are deleted, and nobody uses what is read here.
        return [_CONTRAST.validate_json(result) for result in raw if result is not None]

    # --- confirmation ---------------------------------------------------------------------------

    def set_confirm_total(self, scan_id: str, total: int) -> None:
        self._redis.hset(scan_key(scan_id), "confirm_total", str(total))

    def commit_confirmed(self, scan_id: str, confirmed: list[Trace], tokens: int) -> None:
        keys = [scan_key(scan_id), scan_key(scan_id, "confirmed"), scan_key(scan_id, "live")]
        self._commit_confirmed(keys=keys, args=[TRACES.dump_json(confirmed), self._retention, tokens, time.time()])

    def is_confirmed(self, scan_id: str) -> bool:
        return bool(self._redis.exists(scan_key(scan_id, "confirmed")))

    def confirmed(self, scan_id: str) -> list[Trace] | None:
        raw = self._redis.get(scan_key(scan_id, "confirmed"))
        return None if raw is None else TRACES.validate_json(raw)


class ReferenceBlocks:
    """`reference_cache.Blocks` of one reference and compute type.

    Args:
        connection: answers with bytes: blocks are no text.
        retention_seconds: a block that was not read for so long is deleted.
    """

    def __init__(self, connection: Redis, digest: str, dtype: str, retention_seconds: int) -> None:
        self._connection = connection
        self._prefix = f"tf:reference:{digest.removeprefix('sha256:')[:32]}-{dtype}:"
        self._retention = retention_seconds

    def get(self, name: str) -> bytes | None:
        block = self._connection.getex(self._prefix + name, ex=self._retention)
        assert not isinstance(block, str)
        return block

    def put(self, name: str, block: bytes) -> None:
        self._connection.set(self._prefix + name, block, ex=self._retention)
