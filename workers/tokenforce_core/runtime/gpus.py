"""The GPUs that this installation can use, found without importing torch, which would touch them."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version


def gpus() -> list[str]:
    """Indices of the GPUs that should get a worker each; none means the CPU engine.

    A GPU counts only if the GPU build of vLLM is installed: `make setup` installs the CPU build on every
    machine. `TOKENFORCE_DEVICE=cpu` and an empty `CUDA_VISIBLE_DEVICES` turn GPUs off.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if os.environ.get("TOKENFORCE_DEVICE") == "cpu" or not _has_gpu_engine() or visible in ("", "-1"):
        return []
    if visible is not None:
        return [index.strip() for index in visible.split(",") if index.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # no driver
    return [str(number) for number, _ in enumerate(listed.stdout.strip().splitlines())]


def _has_gpu_engine() -> bool:
    try:
        version("vllm")
    except PackageNotFoundError:
        return False
    return True
