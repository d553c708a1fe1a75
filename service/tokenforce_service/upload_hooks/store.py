"""Upload hooks in Redis.

Keys: those of registrations.py for `tf:hook` · `tf:hook:<id>:message:<SHA-256 of webhook-id>` the SHA-256 of the body
of that message.

The Hub sends a hook's secret as it is, so its SHA-256 is enough. The secret of the generic hook is stored as it is,
because checking a signature needs it: everyone who can read this Redis can forge its events.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Annotated, Any

from redis import Redis

from tokenforce.wire.upload_hooks import HookKind, HookPolicy, HookPolicyRecord
from tokenforce_core.runtime.redis_pages import Place
from tokenforce_core.runtime.text_redis import text_redis
from tokenforce_service.access.registrations import Registrations
from tokenforce_service.http.dependencies import provided
from tokenforce_service.http.rows import Row

PREFIX = "tf:hook"
MESSAGE_SECONDS = 24 * 3600
"""How long the id of a message may not come back with another body. Signatures are good for five minutes."""


@dataclass(frozen=True)
class StoredHook:
    """A hook as stored. `created_at` in seconds since the epoch."""

    id: str
    owner: str
    key_id: str
    """The key that registered it. Its events count for the quota and the rate of this key."""
    kind: HookKind
    policy: HookPolicyRecord
    created_at: float


class HookStore:
    """Raises redis-py's exceptions when Redis cannot be used."""

    def __init__(self, connection: Redis) -> None:
        self._redis = text_redis(connection)
        self._registered = Registrations(connection, PREFIX)

    def create(self, hook_id: str, owner: str, key_id: str, kind: HookKind, policy: HookPolicy, secret: str) -> bool:
        """Register a hook; False if the owner has as many as one may have."""
        fields = {
            "owner": owner,
            "key_id": key_id,
            "kind": kind.value,
            "policy": policy.model_dump_json(exclude_unset=True),
        }
        return self._registered.create(hook_id, time.time(), fields, _kept(kind, secret), by_secret=_by_secret(kind))

    def get(self, hook_id: str) -> StoredHook | None:
        row = self._registered.get(hook_id)
        return None if row is None else _hook(hook_id, row)

    def of_secret(self, secret: str) -> StoredHook | None:
        """The Hub hook with this secret. It is found by its SHA-256, so the time that takes does not reveal it."""
        hook_id = self._registered.id_of_secret(_kept(HookKind.huggingface, secret))
        return None if hook_id is None else self.get(hook_id)

    def secrets(self, hook: StoredHook) -> list[str]:
        """The secrets with which messages of a generic hook may be signed now, the newest first."""
        return self._registered.secrets(hook.id)

    def rotate(self, hook: StoredHook, secret: str) -> float | None:
        """Set a new secret. Returns the time until which the one before it counts; None if the hook is gone."""
        return self._registered.rotate(hook.id, _kept(hook.kind, secret), by_secret=_by_secret(hook.kind))

    def page(self, owner: str | None, limit: int, before: Place | None = None) -> list[StoredHook]:
        """Up to `limit` hooks of an owner or, for None, of all; newest first, strictly older than `before`."""
        return [_hook(*item) for item in self._registered.page(owner, limit, before).items()]

    def change(self, hook_id: str, policy: HookPolicy) -> bool:
        """Replace the policy; False if there is no such hook (any more)."""
        return self._registered.change(hook_id, {"policy": policy.model_dump_json(exclude_unset=True)})

    def remove(self, hook: StoredHook) -> None:
        self._registered.remove(hook.id, hook.owner)

    def first_body(self, hook_id: str, message_id: str, body: bytes) -> bool:
        """Note the body of a message; False if a message with this id had another body."""
        digest = hashlib.sha256(body).hexdigest()
        key = f"{PREFIX}:{hook_id}:message:{_sha256(message_id)}"
        before: Any = self._redis.set(key, digest, nx=True, get=True, ex=MESSAGE_SECONDS)
        return before is None or before == digest


TheHooks = Annotated[HookStore, provided(HookStore)]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _by_secret(kind: HookKind) -> bool:
    return kind is HookKind.huggingface


def _kept(kind: HookKind, secret: str) -> str:
    return _sha256(secret) if kind is HookKind.huggingface else secret


def _hook(hook_id: str, row: Row) -> StoredHook:
    return StoredHook(
        id=hook_id,
        owner=row["owner"],
        key_id=row["key_id"],
        kind=HookKind(row["kind"]),
        policy=HookPolicyRecord.model_validate_json(row["policy"]),
        created_at=float(row["created_at"]),
    )
