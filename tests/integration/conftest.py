"""A real Valkey and one real engine for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.support.stack_process import valkey
from tokenforce_core.scans.store import Store
from tokenforce_workers.engine.machine import Machine, prepare_environment, survey
from tokenforce_workers.settings import WorkerSettings

if TYPE_CHECKING:
    from tokenforce_workers.engine.vllm_engine import Engine


@pytest.fixture(scope="session")
def machine() -> Machine:
    settings = WorkerSettings(device="cpu", kv_cache_gib=0.5)
    found = survey(settings)
    prepare_environment(found)
    return found


@pytest.fixture(scope="session")
def engine(planted_model: Path, machine: Machine) -> Iterator[Engine]:
    """vLLM on the tiny planted model."""
    from tokenforce_workers.engine.vllm_engine import Engine

    loaded = Engine(str(planted_model), "float32", 512, machine, WorkerSettings(max_num_seqs=64))
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey(tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture
def redis(server_url: str) -> Iterator[Redis]:
    """An empty database of a real server of our own."""
    connection = Redis.from_url(server_url)
    connection.flushdb()
    yield connection
    connection.close()


@pytest.fixture
def store(redis: Redis) -> Store:
    return Store(redis)
