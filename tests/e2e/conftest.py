"""One whole stack for the session; tests reach it by HTTP and by the command line only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack_process import RunningStack, whole_stack
from tokenforce import Client

LEASE_SECONDS = 4


@pytest.fixture(scope="session")
def lease_seconds() -> int:
    """Of a worker of `stack`."""
    return LEASE_SECONDS


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[RunningStack]:
    """Small shards and short leases, so that joins and recoveries happen within seconds."""
    with whole_stack(
        tmp_path_factory.mktemp("home"),
        models,
        TOKENFORCE_SHARD_SIZE="100",
        TOKENFORCE_LEASE_SECONDS=str(LEASE_SECONDS),
        TOKENFORCE_REAP_SECONDS="0.5",
        TOKENFORCE_KV_CACHE_GIB="0.5",
        TOKENFORCE_MAX_NUM_SEQS="64",
    ) as running:
        yield running


@pytest.fixture
def client(stack: RunningStack) -> Iterator[Client]:
    with Client(stack.url, key=stack.key) as opened:
        yield opened
