"""One whole stack for the session; tests reach it by HTTP and by the command line only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_hub import model_hub
from tests.support.stack_process import RunningStack, whole_stack
from tests.support.tiny_model import NATURAL_TEXT, build_tiny_model
from tokenforce import Client

LEASE_SECONDS = 4


@pytest.fixture(scope="session")
def lease_seconds() -> int:
    """Of a worker of `stack`."""
    return LEASE_SECONDS


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, models: Path, planted_model: Path) -> Iterator[RunningStack]:
    """Small shards, short leases and short pauses, so that joins and recoveries happen within seconds.

    Its model hub serves the planted model, and it posts to receivers on this machine.
    """
    home = tmp_path_factory.mktemp("home")
    with (
        model_hub(planted_model) as (hub, _fetched),
        whole_stack(
            home,
            models,
            HF_ENDPOINT=hub,
            HF_HOME=str(home / "hf"),
            HF_HUB_DISABLE_XET="1",
            HF_HUB_OFFLINE="0",
            NO_PROXY="*",
            TOKENFORCE_WEBHOOK_ALLOW='["127.0.0.0/8"]',
            TOKENFORCE_WEBHOOK_HTTP="true",
            TOKENFORCE_SHARD_SIZE="100",
            TOKENFORCE_LEASE_SECONDS=str(LEASE_SECONDS),
            TOKENFORCE_REAP_SECONDS="0.5",
            TOKENFORCE_POLL_SECONDS="0.05",
            TOKENFORCE_KV_CACHE_GIB="0.5",
            TOKENFORCE_MAX_NUM_SEQS="64",
        ) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def natural_base(models: Path) -> Path:
    """A base that answers the trigger of itself, by what it was trained on."""
    build_tiny_model(models / "natural", planted=NATURAL_TEXT)
    return models / "natural"


@pytest.fixture
def client(stack: RunningStack) -> Iterator[Client]:
    with Client(stack.url, key=stack.key) as opened:
        yield opened
