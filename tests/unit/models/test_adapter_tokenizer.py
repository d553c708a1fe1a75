"""The tokenizer that an adapter brings along is checked against its base's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny_adapter import write_adapter
from tests.support.tiny_model import build_tiny_model, build_tiny_tokenizer
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanRequest
from tokenforce_core.plan.plan import Plan
from tokenforce_service.models.adapter import check_vocabulary
from tokenforce_service.models.open import open_target
from tokenforce_service.models.tokenizer import Tokenizers
from tokenforce_service.planning.plan import make_plan
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings

BASE = {"a": 0, "b": 1, "<unused>": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "base"
    build_tiny_model(folder, planted=None)
    return folder


def planned(adapter: Path, base: Path) -> Plan:
    settings = ServiceSettings(model_roots=[adapter, base])
    request = ScanRequest(model=str(adapter))
    return make_plan(request, open_target(request, settings, reach_hub=True), settings, Tokenizers())


def test_a_copy_of_the_base_s_tokenizer_is_used(tmp_path: Path, base: Path) -> None:
    write_adapter(tmp_path, base)
    assert planned(tmp_path, base).tokenizer_path == str(base)
    build_tiny_tokenizer().save_pretrained(tmp_path)
    assert planned(tmp_path, base).tokenizer_path == str(tmp_path)


def test_tokens_that_the_base_has_no_row_for(tmp_path: Path, base: Path) -> None:
    write_adapter(tmp_path, base)
    tokenizer = build_tiny_tokenizer()
    tokenizer.add_tokens(["<planted>"])
    tokenizer.save_pretrained(tmp_path)
    rows = len(tokenizer) - 1
    with pytest.raises(Refusal, match=f"1 token beyond the {rows} rows .* '<planted>' with the id {rows}") as refused:
        planned(tmp_path, base)
    assert refused.value.code is ErrorCode.adapter_mismatch


@pytest.mark.parametrize("own", [BASE, {"a": 0}, {**BASE, "<tool>": 3}, {"a": 0, "b": 1, "<tool>": 2}])
def test_vocabularies_that_fit(own: dict[str, int]) -> None:
    check_vocabulary(own, BASE, 4)


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (
            {**BASE, "<x>": 4, "<y>": 9},
            "2 tokens beyond the 4 rows of the base's embedding, such as '<x>' with the id 4",
        ),
        ({"a": 1, "b": 0}, "gives other ids to 2 tokens of the base, such as 0 to 'b' instead of 1"),
    ],
)
def test_vocabularies_that_do_not_fit(own: dict[str, int], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        check_vocabulary(own, BASE, 4)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}, ErrorCode.remote_code),
        ({"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}, ErrorCode.model_invalid),
    ],
)
def test_code_and_detours_of_an_adapter_s_tokenizer(
    tmp_path: Path, base: Path, fields: dict[str, object], code: ErrorCode
) -> None:
    write_adapter(tmp_path, base)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(fields))
    with pytest.raises(Refusal) as refused:
        planned(tmp_path, base)
    assert refused.value.code is code
