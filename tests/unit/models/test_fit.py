"""The gateway checks whatever part of a request is on its disk, and a hub id only where there is a hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import fakeredis
import pytest
from huggingface_hub import constants

from tests.support.tiny_adapter import write_adapter
from tests.support.tiny_model import build_tiny_model
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.queues.workers import publish_engine
from tokenforce_core.scans.store import Store
from tokenforce_service.models import hub
from tokenforce_service.models.open import OnHub, Opened, open_target
from tokenforce_service.refusals import Refusal
from tokenforce_service.scans.admission import admit
from tokenforce_service.settings import ServiceSettings

Admit = Callable[[Path | str, Path | str | None], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "model"
    build_tiny_model(folder, planted=None)
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A good model, a spoilt one, one whose card names a hub's, an adapter on the good one, one on a hub's."""
    for name in ("good", "spoilt", "carded", "spoilt carded"):
        shutil.copytree(made, tmp_path / name)
    for name in ("spoilt", "spoilt carded"):
        (tmp_path / name / "model.safetensors").unlink()
    for name in ("carded", "spoilt carded"):
        (tmp_path / name / "README.md").write_text("---\nbase_model: org/base\n---\n")
    write_adapter(tmp_path / "adapter", tmp_path / "good")
    write_adapter(tmp_path / "hub adapter", "org/base")
    write_adapter(tmp_path / "spoilt adapter", "org/base", r=0)
    return tmp_path


@pytest.fixture
def admitted(root: Path, monkeypatch: pytest.MonkeyPatch) -> Admit:
    """Admit a scan of a folder under the root, or of a hub id, with such a reference. Nothing is downloaded."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HfApi", None)

    def admit_scan(model: Path | str, reference: Path | str | None) -> None:
        names = [name if name is None or isinstance(name, str) else str(root / name) for name in (model, reference)]
        request = ScanRequest(model=str(names[0]), reference=names[1])
        admit(request, ServiceSettings(model_roots=[root]), Store(fakeredis.FakeRedis()))

    return admit_scan


HERE: list[tuple[Path | str, Path | str | None]] = [
    (Path("good"), None),
    (Path("good"), "none"),
    (Path("good"), Path("carded")),
    (Path("adapter"), None),
    (Path("adapter"), "none"),
    (Path("hub adapter"), Path("good")),
]
ON_A_HUB: list[tuple[Path | str, Path | str | None]] = [
    ("org/name", None),
    ("org/name", "org/base"),
    ("org/name", Path("good")),
    (Path("good"), "org/base"),
    (Path("carded"), "auto"),
    (Path("adapter"), "org/base"),
    (Path("hub adapter"), None),
    (Path("hub adapter"), "none"),
]


@pytest.mark.parametrize(("model", "reference"), HERE + ON_A_HUB)
def test_admitted(admitted: Admit, model: Path | str, reference: Path | str | None) -> None:
    admitted(model, reference)


@pytest.mark.parametrize(("model", "reference"), ON_A_HUB)
def test_without_a_hub_its_ids_are_refused_at_once(
    admitted: Admit, monkeypatch: pytest.MonkeyPatch, model: Path | str, reference: Path | str | None
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Refusal, match=r"org/\w+ is a hub id, .* give a local folder") as refused:
        admitted(model, reference)
    assert (refused.value.code, refused.value.status) == (ErrorCode.hub_unreachable, 422)


@pytest.mark.parametrize(
    ("model", "reference", "loaded", "contrasted"),
    [
        ("org/name", None, OnHub("org/name"), None),
        ("org/name", "auto", OnHub("org/name"), None),
        ("org/name", "org/base", OnHub("org/name"), OnHub("org/base")),
        ("org/name", Path("good"), OnHub("org/name"), "good"),
        (Path("good"), "org/base", "good", OnHub("org/base")),
        (Path("carded"), "auto", "carded", OnHub("org/base")),
        (Path("hub adapter"), None, OnHub("org/base"), OnHub("org/base")),
        (Path("hub adapter"), "none", OnHub("org/base"), None),
        (Path("adapter"), "none", "good", None),
    ],
)
def test_what_is_only_on_the_hub_stays_there(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Path | str,
    reference: Path | str | None,
    loaded: OnHub | str,
    contrasted: OnHub | str | None,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HfApi", None)
    names = [str(root / name) if isinstance(name, Path) else name for name in (model, reference)]
    request = ScanRequest(model=str(names[0]), reference=names[1])
    target = open_target(request, ServiceSettings(model_roots=[root]), reach_hub=False)
    parts = [part.model.path.name if isinstance(part, Opened) else part for part in (target.loaded, target.reference)]
    assert parts == [loaded, contrasted]
    assert (target.source is None) == (target.reference is None)


@pytest.mark.parametrize(("model", "reference"), HERE)
def test_without_a_hub_folders_are_scanned(
    admitted: Admit, monkeypatch: pytest.MonkeyPatch, model: Path | str, reference: Path | str | None
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    admitted(model, reference)


@pytest.mark.parametrize(
    ("model", "reference", "code"),
    [
        (Path("spoilt"), "org/base", ErrorCode.weights_missing),
        (Path("spoilt"), "auto", ErrorCode.weights_missing),
        (Path("spoilt carded"), "auto", ErrorCode.weights_missing),
        (Path("spoilt adapter"), "org/base", ErrorCode.adapter_mismatch),
        (Path("spoilt adapter"), None, ErrorCode.adapter_mismatch),
        (Path("nowhere"), "org/base", ErrorCode.model_not_found),
        ("/", "org/base", ErrorCode.path_not_allowed),
        ("org/name", Path("spoilt"), ErrorCode.weights_missing),
        ("org/name", Path("nowhere"), ErrorCode.base_missing),
        ("org/name", Path("adapter"), ErrorCode.base_missing),
        ("org/name", "/", ErrorCode.path_not_allowed),
    ],
)
def test_what_is_here_is_checked_though_the_other_is_on_a_hub(
    admitted: Admit, model: Path | str, reference: Path | str | None, code: ErrorCode
) -> None:
    with pytest.raises(Refusal) as refused:
        admitted(model, reference)
    assert refused.value.code is code


def test_a_base_by_a_name_that_is_none_is_refused_at_once(admitted: Admit, root: Path) -> None:
    write_adapter(root / "adapter", "../good")
    with pytest.raises(Refusal, match=r"'\.\./good', is neither the absolute path of a folder nor a hub id"):
        admitted(Path("adapter"), None)


def test_a_card_outside_the_roots_is_not_read(
    admitted: Admit, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "README.md"
    outside.write_text("---\nbase_model: org/secret\n---\n")
    (root / "good" / "README.md").symlink_to(outside)
    with pytest.raises(Refusal) as refused:
        admitted(Path("good"), "auto")
    assert refused.value.code is ErrorCode.path_not_allowed


def test_the_engine_s_architectures_count_for_a_reference_that_is_here(admitted: Admit, root: Path) -> None:
    config = json.loads((root / "good" / "config.json").read_text())
    (root / "good" / "config.json").write_text(json.dumps({**config, "architectures": ["LazyForCausalLM"]}))
    connection = fakeredis.FakeRedis()
    store = Store(connection)
    publish_engine(store.connection, {"device": "cpu"}, ["LlamaForCausalLM"])
    request = ScanRequest(model="org/name", reference=str(root / "good"))
    with pytest.raises(Refusal) as refused:
        admit(request, ServiceSettings(model_roots=[root]), store)
    assert refused.value.code is ErrorCode.unsupported_architecture
