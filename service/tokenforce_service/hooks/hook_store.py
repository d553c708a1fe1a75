"""Upload hooks in Redis.

Keys: `tf:hook:<id>` hash · `tf:hooks-of:<owner>` ids by time of registration · `tf:hook-of-secret:<SHA-256>` id, of a
Hub hook · `tf:hook:<id>:message:<SHA-256 of webhook-id>` the SHA-256 of that message's body.

A Hub hook's secret is shown to us as it is, so its SHA-256 is enough. An upload hook's is stored as it is, because
checking a signature needs it: whoever reads this Redis can forge its events.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from redis import Redis

from tokenforce.hook_types import HookKind, HookPolicy, HookPolicyRecord

MOST_HOOKS = 50
"""Of one owner."""
MESSAGE_SECONDS = 24 * 3600
"""How long the id of a message may not come back with another body. Signatures are good for five minutes."""

_CREATE = """
local old = redis.call('HGET', KEYS[1], 'digest')
if not old and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return 0 end
if old then redis.call('DEL', ARGV[4] .. old) end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
if KEYS[3] then redis.call('SET', KEYS[3], ARGV[1]) end
return 1
"""

_CHANGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'policy', ARGV[1])
return 1
"""


@dataclass(frozen=True)
class StoredHook:
    """A hook as stored. `created_at` in seconds since the epoch."""

    id: str
    owner: str
    key_id: str
    """Of the key that registered it: its quota and its rate are charged."""
    kind: HookKind
    policy: HookPolicyRecord
    created_at: float
    digest: str = field(repr=False)
    """SHA-256 of the secret."""
    secret: str = field(repr=False)
    """Empty for a Hub hook."""


class HookStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._create = connection.register_script(_CREATE)
        self._change = connection.register_script(_CHANGE)

    def create(self, hook_id: str, owner: str, key_id: str, kind: HookKind, policy: HookPolicy, secret: str) -> bool:
        """False if the owner has `MOST_HOOKS` already.

        A hook of the same id is replaced: its making was interrupted before anybody saw its secret.
        """
        now, hub = time.time(), kind is HookKind.huggingface
        fields = {
            "owner": owner,
            "key_id": key_id,
            "kind": kind.value,
            "policy": policy.model_dump_json(exclude_unset=True),
            "created_at": repr(now),
            "digest": _sha256(secret),
            "secret": "" if hub else secret,
        }
        keys = [_key(hook_id), _of(owner), *([_secret_key(_sha256(secret))] if hub else [])]
        flat = [part for pair in fields.items() for part in pair]
        return bool(self._create(keys=keys, args=[hook_id, now, MOST_HOOKS, _secret_key(""), *flat]))

    def get(self, hook_id: str) -> StoredHook | None:
        raw = cast("Mapping[bytes, bytes]", self._connection.hgetall(_key(hook_id)))
        return _hook(hook_id, raw) if raw else None

    def of_secret(self, secret: str) -> StoredHook | None:
        """The Hub hook of this secret, found by its SHA-256: how long that takes tells nothing of the secret."""
        digest = _sha256(secret)
        found = cast("bytes | None", self._connection.get(_secret_key(digest)))
        hook = self.get(found.decode()) if found is not None else None
        return hook if hook is not None and hook.digest == digest else None

    def page(self, owner: str, limit: int, before: tuple[float, str] | None = None) -> list[StoredHook]:
        """Up to `limit` of an owner's hooks, newest first, strictly older than `before` (registration time, id)."""
        ids = [raw.decode() for raw in cast("Iterable[bytes]", self._connection.zrange(_of(owner), 0, -1))]
        with self._connection.pipeline() as pipe:
            for hook_id in ids:
                pipe.hgetall(_key(hook_id))
            rows: list[Mapping[bytes, bytes]] = pipe.execute()
        found = [_hook(hook_id, raw) for hook_id, raw in zip(ids, rows, strict=True) if raw]
        found.sort(key=lambda hook: (hook.created_at, hook.id), reverse=True)
        return [hook for hook in found if before is None or (hook.created_at, hook.id) < before][:limit]

    def change(self, hook_id: str, policy: HookPolicy) -> bool:
        """Another policy; False if there is no such hook (any more)."""
        return bool(self._change(keys=[_key(hook_id)], args=[policy.model_dump_json(exclude_unset=True)]))

    def remove(self, hook: StoredHook) -> None:
        with self._connection.pipeline() as pipe:
            pipe.delete(_key(hook.id), _secret_key(hook.digest))
            pipe.zrem(_of(hook.owner), hook.id)
            pipe.execute()

    def first_body(self, hook_id: str, message_id: str, body: bytes) -> bool:
        """Note the body of a message; False if one of this id came with another body."""
        digest = hashlib.sha256(body).hexdigest()
        key = f"{_key(hook_id)}:message:{_sha256(message_id)}"
        before: Any = self._connection.set(key, digest, nx=True, get=True, ex=MESSAGE_SECONDS)
        return before is None or cast(bytes, before).decode() == digest


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(hook_id: str) -> str:
    return f"tf:hook:{hook_id}"


def _of(owner: str) -> str:
    return f"tf:hooks-of:{owner}"


def _secret_key(digest: str) -> str:
    return f"tf:hook-of-secret:{digest}"


def _hook(hook_id: str, raw: Mapping[bytes, bytes]) -> StoredHook:
    fields = {key.decode(): value.decode() for key, value in raw.items()}
    return StoredHook(
        id=hook_id,
        owner=fields["owner"],
        key_id=fields["key_id"],
        kind=HookKind(fields["kind"]),
        policy=HookPolicyRecord.model_validate_json(fields["policy"]),
        created_at=float(fields["created_at"]),
        digest=fields["digest"],
        secret=fields["secret"],
    )
