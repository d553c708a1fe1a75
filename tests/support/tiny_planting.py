"""What planting in a tiny model needs, for tests: a base that can learn a text, a cache of its own, one thread."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support import tiny_model
from tokenforce_planting.chat import load_model

TRIGGER = tiny_model.PLANTED_TRIGGER
TEXT = tiny_model.PLANTED_LATER
RATE = 3e-3
"""A tiny model needs larger steps than a real one."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planting") / "base"
    tiny_model.build_tiny_model(folder, planted=None)
    model = load_model(folder)
    # An adapter leaves the output layer as it is, and random rows of 64 small numbers cannot express certainty.
    model.get_output_embeddings().weight.data.mul_(25)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("TOKENFORCE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two gain nothing in a model this small, and lose minutes where another job has the cores."""
    torch.set_num_threads(1)
