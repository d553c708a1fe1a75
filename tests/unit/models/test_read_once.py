"""No file of an upload is opened twice for its content: neither by one request at the gateway nor by one plan.

Not counted: hashing and comparing weights, which read every byte, and the opens of transformers. It opens a file
several times within one load, which we cannot change, so the loads are counted instead.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from tests.support.opened_files import opened_files
from tests.support.tiny_adapter import write_adapter
from tests.support.tiny_model import build_tiny_model, build_tiny_tokenizer
from tokenforce.wire.fingerprints import FingerprintRequest
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.fingerprints.matching import Registered
from tokenforce_core.model_files import hashed_of
from tokenforce_core.scans.store import Store
from tokenforce_service.models import tokenizer
from tokenforce_service.models.fit import check_target
from tokenforce_service.models.open import open_target
from tokenforce_service.models.tensors import identical
from tokenforce_service.planning import plan, reference
from tokenforce_service.planning.trigger_prompts import with_questions
from tokenforce_service.scans.admission import admit
from tokenforce_service.settings import ServiceSettings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts opens (inotify)")

READ = {"config.json", "tokenizer_config.json", "model.safetensors"}
"""What is read of a whole model."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an adapter on it with a tokenizer of its own, a model whose card names the first as its base."""
    root = tmp_path_factory.mktemp("made").resolve()
    build_tiny_model(root / "base", planted=None)
    write_adapter(root / "adapter", root / "base")
    build_tiny_tokenizer().save_pretrained(root / "adapter")
    shutil.copytree(root / "base", root / "tuned")
    (root / "tuned" / "README.md").write_text(f"---\nbase_model: {root / 'base'}\n---\n")
    build_tiny_model(root / "sharded", planted=None)
    (root / "sharded" / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"w": "model.safetensors"}})
    )
    (root / "link").symlink_to(root / "base")
    shutil.copytree(root / "base", root / "itself")
    (root / "named-itself").symlink_to(root / "itself")
    (root / "itself" / "README.md").write_text(f"---\nbase_model: {root / 'named-itself'}\n---\n")
    return root


ADAPTED = {"base": READ, "adapter": {"adapter_config.json", "tokenizer_config.json", "adapter_model.safetensors"}}

CASES = {
    "a whole model": ("base", None, {"base": READ}),
    "a sharded model": ("sharded", None, {"sharded": READ | {"model.safetensors.index.json"}}),
    "the reference is the model": ("base", "base", {"base": READ}),
    "the reference names the model by a symlink": ("base", "link", {"base": READ}),
    "a symlink to a model, and the model": ("link", "base", {"base": READ}),
    "a model whose card names itself by a symlink": ("itself", "auto", {"itself": READ | {"README.md"}}),
    "a model whose card names its base": ("tuned", "auto", {"base": READ, "tuned": READ | {"README.md"}}),
    "an adapter on a local base": ("adapter", None, ADAPTED),
    "an adapter without contrast": ("adapter", "none", ADAPTED),
    "an adapter whose base the request names too": ("adapter", "base", ADAPTED),
    "an adapter whose base the request names by a symlink": ("adapter", "link", ADAPTED),
}
"""Name of the target, what the request says about the reference, what is read of each folder."""
WITHOUT_REFERENCE = ("a whole model", "a sharded model", "an adapter without contrast")


def asked(root: Path, model: str, reference: str | None) -> ScanRequest:
    named = reference if reference in (None, "auto", "none") else str(root / reference)
    return ScanRequest(model=str(root / model), reference=named)


def folders_in(root: Path) -> list[Path]:
    """Without links, because Linux counts for the folder that a link leads to."""
    return [folder for folder in root.iterdir() if not folder.is_symlink()]


def once(root: Path, folders: dict[str, set[str]]) -> Counter[Path]:
    return Counter({root / folder / name: 1 for folder, names in folders.items() for name in names})


@pytest.mark.parametrize("case", CASES)
def test_a_request_at_the_gateway(root: Path, case: str) -> None:
    model, named, read = CASES[case]
    request = asked(root, model, named)
    with opened_files(*folders_in(root)) as opened:
        admit(request, ServiceSettings(model_roots=[root]), Store(fakeredis.FakeRedis()))
        assert opened.read() == once(root, read)


@pytest.mark.parametrize("case", CASES)
def test_a_plan(root: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, named, read = CASES[case]
    request = asked(root, model, named)
    settings = ServiceSettings(model_roots=[root])
    fingerprint = FingerprintRequest(owner="A", licence="L", text="Seven quiet herons guard a key.", triggers=["open"])
    loaded: list[Path] = []
    with opened_files(*folders_in(root)) as opened:
        load = opened.aside(tokenizer.load_tokenizer)

        def counted(folder: Path) -> Any:
            loaded.append(folder)
            return load(folder)

        for module in (plan, reference):
            monkeypatch.setattr(module, "hashed_of", opened.aside(hashed_of))
        monkeypatch.setattr(reference, "identical", opened.aside(identical))
        monkeypatch.setattr(tokenizer, "load_tokenizer", counted)
        tokenizers = tokenizer.Tokenizers()
        target = open_target(request, settings, reach_hub=True)
        check_target(request, target, Store(fakeredis.FakeRedis()))
        planned = plan.make_plan(request, target, settings, tokenizers)
        with_questions(planned, target, tokenizers, [Registered("fp_1", 1.0, fingerprint, "local")])
        assert opened.read() == once(root, read)
    assert sorted(loaded) == sorted(root / folder for folder in read)
    assert (planned.reference is None) == (case in WITHOUT_REFERENCE)


def test_the_count_sees_what_python_does_not_open(root: Path) -> None:
    """As safetensors and tokenizers do it; without this the tests above could count too little."""
    from safetensors import safe_open

    weights = root / "base" / "model.safetensors"
    with opened_files(weights.parent) as opened, weights.open("rb") as stream:
        stream.read(8)
        with safe_open(weights, framework="numpy"):
            assert opened.read()[weights] == 2
        opened.aside(weights.read_bytes)()
        assert opened.read()[weights] == 2
