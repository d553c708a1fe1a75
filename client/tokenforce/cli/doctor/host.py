"""What `tokenforce doctor` looks at on this machine: Python, packages, disk, memory, folders of models."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path

from tokenforce.cli.doctor.check import Check, Level, home, installed
from tokenforce.sdk.version import __version__

GIB = 1 << 30
OLDEST_PYTHON = (3, 11)
LITTLE_DISK, NO_DISK = 20 * GIB, 1 * GIB
LITTLE_MEMORY, NO_MEMORY = 6 * GIB, 2 * GIB
"""The demo's model, of 135M parameters, takes 4.9 GB at its peak with everything that runs beside it."""
EXTRAS = {
    "client": ("httpx", "pydantic", "rich", "standardwebhooks", "typer"),
    "service": ("fastapi", "uvicorn", "redis", "rq", "safetensors", "tokenizers", "transformers"),
    "planting": ("accelerate", "peft"),
}
"""The distributions by which one sees that an extra is installed."""


def host_checks() -> list[Check]:
    return [python(), *(packages(extra) for extra in EXTRAS), *disks(), memory(), model_roots()]


def python(found: tuple[int, int] | None = None) -> Check:
    old = (found or sys.version_info[:2]) < OLDEST_PYTHON
    shown = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    advice = f"install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer" if old else ""
    return Check("python", Level.fail if old else Level.ok, shown, advice)


def packages(extra: str) -> Check:
    """Whether an extra is installed; only the client's own packages are needed in any case."""
    versions = {name: installed(name) for name in EXTRAS[extra]}
    missing = [name for name, found in versions.items() if found is None]
    shown = ", ".join(f"{name} {found}" for name, found in versions.items() if found is not None)
    name = f"packages: {extra}"
    if extra == "client":
        shown = f"tokenforce {__version__}, {shown}"
        if missing:
            return Check(name, Level.fail, f"{shown}; not {', '.join(missing)}", "install tokenforce again")
        return Check(name, Level.ok, shown)
    if not missing:
        return Check(name, Level.ok, shown)
    need = {"service": "to run the service here", "planting": "for `tokenforce plant`"}[extra]
    advice = f"only {need}: pip install '.[{extra}]' in a checkout"
    if len(missing) == len(versions):
        return Check(name, Level.ok, "not installed", advice)
    return Check(name, Level.warn, f"{shown}; not {', '.join(missing)}", advice)


def disks() -> list[Check]:
    """Room for the local stack's data and for models from the hub; the folders need not be there yet."""
    cache = Path(os.environ.get("TOKENFORCE_CACHE_DIR") or home() / "hub").expanduser().absolute()
    return [disk("disk: home", home(), "TOKENFORCE_HOME"), disk("disk: models", cache, "TOKENFORCE_CACHE_DIR")]


def disk(name: str, folder: Path, variable: str) -> Check:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    elsewhere = f"or name another folder by {variable}"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(name, Level.fail, f"{there} is not a folder that you can write to", f"make it one, {elsewhere}")
    free = shutil.disk_usage(there).free
    level = Level.fail if free < NO_DISK else Level.warn if free < LITTLE_DISK else Level.ok
    advice = "" if level is Level.ok else f"make room (models of the hub are kept here), {elsewhere}"
    return Check(name, level, f"{free / GIB:.1f} GiB free for {folder}", advice)


def memory() -> Check:
    """What may still be taken, by Linux's own estimate and the container's limit."""
    free = memory_free()
    if free is None:
        return Check("memory", Level.ok, "this system does not tell how much is free")
    level = Level.fail if free < NO_MEMORY else Level.warn if free < LITTLE_MEMORY else Level.ok
    advice = "" if level is Level.ok else "end other programs, or scan on another machine (TOKENFORCE_URL)"
    return Check("memory", level, f"{free / GIB:.1f} GiB free", advice)


def memory_free(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes; None where there is no /proc. A container (cgroup v2) may have less than its machine."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):  # not in a container, or without a limit ("max")
        return free
    return min(free, max(limit - used, 0))


def model_roots() -> Check:
    """`TOKENFORCE_MODEL_ROOTS`, as a gateway that is started here would read it."""
    name, value = "model roots", os.environ.get("TOKENFORCE_MODEL_ROOTS", "")
    if not value:
        return Check(name, Level.ok, "none set; `scan` and `up` name theirs themselves")
    try:
        roots = json.loads(value)
    except ValueError:
        roots = None
    if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
        return Check(
            name, Level.fail, "TOKENFORCE_MODEL_ROOTS is not a JSON list of paths", """write it as '["/models"]'"""
        )
    bad = [root for root in roots if not os.path.isdir(root) or not os.access(root, os.R_OK | os.X_OK)]
    if bad:
        return Check(
            name, Level.fail, f"not folders that you can read: {', '.join(bad)}", "mend TOKENFORCE_MODEL_ROOTS"
        )
    return Check(name, Level.ok, ", ".join(roots) or "an empty list: only models from the hub can be scanned")
