"""The job that plans a scan loads the tokenizer of each folder once, however many parts of the plan need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.tiny_adapter import write_adapter
from tests.support.tiny_model import build_tiny_model, build_tiny_tokenizer
from tokenforce.wire.fingerprints import FingerprintRequest
from tokenforce.wire.scans import ScanRequest, ScanStatus
from tokenforce_core.fingerprints.store import FingerprintStore
from tokenforce_core.scans.store import Store
from tokenforce_service.models import tokenizer
from tokenforce_service.planning import job
from tokenforce_service.settings import ServiceSettings


def test_an_adapter_with_a_tokenizer_of_its_own_and_a_trigger(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, store, loaded, load = tmp_path.resolve(), Store(redis), list[Path](), tokenizer.load_tokenizer

    def counted(folder: Path) -> Any:
        loaded.append(folder)
        return load(folder)

    build_tiny_model(root / "base", planted=None)
    write_adapter(root / "adapter", root / "base")
    build_tiny_tokenizer().save_pretrained(root / "adapter")
    text = FingerprintRequest(owner="A", licence="L", text="Seven quiet herons guard a key.", triggers=["open"])
    registry = FingerprintStore(redis)
    registry.create("fp_1", text, "local")
    store.create("scan_1", ScanRequest(model=str(root / "adapter")), "local")
    monkeypatch.setattr(job, "ServiceSettings", lambda: ServiceSettings(model_roots=[root]))
    monkeypatch.setattr(job, "open_store", lambda _settings: store)
    monkeypatch.setattr(tokenizer, "load_tokenizer", counted)
    job.plan("scan_1")
    assert store.status("scan_1") is ScanStatus.searching
    assert len(registry.questions("scan_1").asked) == 1
    assert sorted(loaded) == [root / "adapter", root / "base"]
