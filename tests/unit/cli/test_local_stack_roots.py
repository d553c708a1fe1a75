"""What a local stack that is started for a scan may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_adapter import write_adapter
from tokenforce.cli.local_stack import roots_of
from tokenforce.wire.scans import ScanRequest


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """What looks like a model folder."""
    return model(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    write_adapter(tmp_path / "adapter", base)
    return tmp_path / "adapter"


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    return folder


def roots(folder: Path | str, reference: Path | str | None = None) -> list[Path]:
    request = ScanRequest(model=str(folder), reference=None if reference is None else str(reference))
    return [Path(root) for root in roots_of(request)]


def test_what_the_command_line_names(base: Path, tmp_path: Path) -> None:
    assert roots(base) == [base]
    assert roots(base, "org/name") == [base]
    assert roots(base, tmp_path / "other") == [base, tmp_path / "other"]
    assert roots(base, base) == [base]
    assert roots("org/name", base) == [base]
    assert roots("org/name", "auto") == []


@pytest.mark.parametrize("reference", [None, "auto", "none"])
def test_the_base_that_an_adapter_names(adapter: Path, base: Path, reference: str | None) -> None:
    assert roots(adapter, reference) == [adapter, base]


def test_another_base_takes_its_place(adapter: Path, tmp_path: Path) -> None:
    assert roots(adapter, tmp_path / "other") == [adapter, tmp_path / "other"]
    assert roots(adapter, "org/name") == [adapter]


def test_a_snapshot_in_a_hub_cache_stands_for_its_repository(adapter: Path, tmp_path: Path) -> None:
    snapshot = model(tmp_path / "models--org--name" / "snapshots" / "0123abc")
    write_adapter(adapter, snapshot)
    assert roots(adapter) == [adapter, tmp_path / "models--org--name"]
    assert roots(snapshot) == [tmp_path / "models--org--name"]
    other = model(tmp_path / "snapshots" / "0123abc")
    write_adapter(adapter, other)
    assert roots(adapter) == [adapter, other]


@pytest.mark.parametrize(
    "named", ["/", "base", "../base", "org/name", "", 7, "/dev/null", "/\0", "/" + "n" * 300, None]
)
def test_an_adapter_that_names_no_model_folder(adapter: Path, named: object) -> None:
    """A root is what links may lead to: none of these may become one."""
    write_adapter(adapter, "/", base_model_name_or_path=named)
    assert roots(adapter) == [adapter]


@pytest.mark.parametrize("config", ["{", "[]", "[" * 100_000, " " * (1 << 20) + "{}"])
def test_a_config_that_cannot_be_read(adapter: Path, config: str) -> None:
    (adapter / "adapter_config.json").write_text(config)
    assert roots(adapter) == [adapter]


def test_a_whole_model_s_adapter_config_is_not_read(adapter: Path) -> None:
    (adapter / "config.json").write_text("{}")
    assert roots(adapter) == [adapter]
