"""The key of the local stack: an admin key of the owner `local`, in a file that only its user can read.

It stays when the stack ends, so that a `TOKENFORCE_KEY` in a terminal still works after a restart.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from redis import Redis

from tokenforce.wire.keys import LOCAL_OWNER, Scope
from tokenforce_service.access.key_store import KeyStore
from tokenforce_service.access.tokens import Token, parse


def ensure_local_key(file: Path, redis_url: str) -> None:
    """Make sure that the file holds a token that works. A valid one is kept.

    Only one process at a time may call this: the one that holds the lock of the stack's home.

    Raises:
        RedisError: the store cannot be used.
        OSError: the file cannot be written.
    """
    with Redis.from_url(redis_url, socket_connect_timeout=5, socket_timeout=5) as connection:
        store = KeyStore(connection)
        kept = _read(file)
        row = store.get(kept.key_id) if kept is not None else None
        if kept is not None and row is not None and row.proven_by(kept.secret):
            if row.revoked_at is None and _is_private(file):
                return
            store.revoke(row.id)  # other users could read it
        _, token = store.create(LOCAL_OWNER, [Scope.admin], "local stack")
        _write(file, token)


def _read(file: Path) -> Token | None:
    try:
        return parse(file.read_text("ascii").strip())
    except (OSError, UnicodeDecodeError):
        return None  # there is no token yet: a new one is written


def _is_private(file: Path) -> bool:
    found = file.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _write(file: Path, token: Token) -> None:
    """Write the whole file or nothing. Other users cannot read it at any moment."""
    fresh = file.with_name(f"{file.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(f"{token}\n")
    fresh.replace(file)
