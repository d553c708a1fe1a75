"""Upload hooks in Redis.

Keys: `tf:hook:<id>` hash · `…:secrets` as in overlapping_secrets.py · `tf:hooks` ids by time of registration ·
`tf:hooks-of:<owner>` those of one owner · `tf:hook-of-secret:<SHA-256>` id, of a Hub hook ·
`tf:hook:<id>:message:<SHA-256 of webhook-id>` the SHA-256 of that message's body.

A Hub hook's secret is shown to us as it is, so its SHA-256 is enough, among its secrets too. An upload hook's is stored
as it is, because checking a signature needs it: whoever reads this Redis can forge its events.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from tokenforce.wire.upload_hooks import HookKind, HookPolicy, HookPolicyRecord
from tokenforce_service.access.rotating_secrets import OverlappingSecrets

HOOKS = "tf:hooks"
MOST_HOOKS = 50
"""Of one owner."""
MESSAGE_SECONDS = 24 * 3600
"""How long the id of a message may not come back with another body. Signatures are good for five minutes."""

_CREATE = """
local old = redis.call('ZRANGE', KEYS[3], 0, -1)
if #old == 0 and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) then return 0 end
for _, kept in ipairs(old) do redis.call('DEL', ARGV[5] .. kept) end
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], 'inf', ARGV[4])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
if KEYS[5] then redis.call('SET', KEYS[5], ARGV[1]) end
return 1
"""

_CHANGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'policy', ARGV[1])
return 1
"""


_REMOVE = """
for _, kept in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do redis.call('DEL', ARGV[2] .. kept) end
redis.call('DEL', KEYS[1], KEYS[3])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
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


class HookStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._create = connection.register_script(_CREATE)
        self._change = connection.register_script(_CHANGE)
        self._remove = connection.register_script(_REMOVE)
        self._secrets = OverlappingSecrets(connection)

    def create(self, hook_id: str, owner: str, key_id: str, kind: HookKind, policy: HookPolicy, secret: str) -> bool:
        """False if the owner has `MOST_HOOKS` already.

        A hook of the same id is replaced: its making was interrupted before anybody saw its secret.
        """
        now, kept = time.time(), _kept(kind, secret)
        fields = {
            "owner": owner,
            "key_id": key_id,
            "kind": kind.value,
            "policy": policy.model_dump_json(exclude_unset=True),
            "created_at": repr(now),
        }
        keys = [_key(hook_id), _of(owner), _secrets_key(hook_id), HOOKS]
        if kind is HookKind.huggingface:
            keys.append(_secret_key(kept))
        flat = [part for pair in fields.items() for part in pair]
        return bool(self._create(keys=keys, args=[hook_id, now, MOST_HOOKS, kept, _secret_key(""), *flat]))

    def get(self, hook_id: str) -> StoredHook | None:
        raw = cast("Mapping[bytes, bytes]", self._connection.hgetall(_key(hook_id)))
        return _hook(hook_id, raw) if raw else None

    def of_secret(self, secret: str) -> StoredHook | None:
        """The Hub hook of this secret, found by its SHA-256: how long that takes tells nothing of the secret."""
        found = cast("bytes | None", self._connection.get(_secret_key(_kept(HookKind.huggingface, secret))))
        return self.get(found.decode()) if found is not None else None

    def secrets(self, hook: StoredHook) -> list[str]:
        """Those that an upload hook's messages may be signed with now, the newest first."""
        return self._secrets.counting(_secrets_key(hook.id))

    def rotate(self, hook: StoredHook, secret: str) -> float | None:
        """A new secret; returns until when the one before counts, None if there is no such hook (any more)."""
        index = (_secret_key(""), hook.id) if hook.kind is HookKind.huggingface else None
        return self._secrets.rotate(_key(hook.id), _secrets_key(hook.id), _kept(hook.kind, secret), index)

    def page(self, owner: str | None, limit: int, before: tuple[float, str] | None = None) -> list[StoredHook]:
        """Up to `limit` hooks of an owner or, for None, of all; newest first, strictly older than `before`.

        `before` is (registration time, id). Everyone's are read each time: hooks are few.
        """
        key = HOOKS if owner is None else _of(owner)
        ids = [raw.decode() for raw in cast("Iterable[bytes]", self._connection.zrange(key, 0, -1))]
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
        keys = [_key(hook.id), _of(hook.owner), _secrets_key(hook.id), HOOKS]
        self._remove(keys=keys, args=[hook.id, _secret_key("")])

    def first_body(self, hook_id: str, message_id: str, body: bytes) -> bool:
        """Note the body of a message; False if one of this id came with another body."""
        digest = hashlib.sha256(body).hexdigest()
        key = f"{_key(hook_id)}:message:{_sha256(message_id)}"
        before: Any = self._connection.set(key, digest, nx=True, get=True, ex=MESSAGE_SECONDS)
        return before is None or cast(bytes, before).decode() == digest


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _kept(kind: HookKind, secret: str) -> str:
    return _sha256(secret) if kind is HookKind.huggingface else secret


def _key(hook_id: str) -> str:
    return f"tf:hook:{hook_id}"


def _of(owner: str) -> str:
    return f"tf:hooks-of:{owner}"


def _secrets_key(hook_id: str) -> str:
    return f"{_key(hook_id)}:secrets"


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
    )
