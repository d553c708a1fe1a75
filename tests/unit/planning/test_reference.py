"""Who names the reference, whether its vocabulary fits, and whether it is the target itself."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.support.tiny_adapter import RANK, write_adapter
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import KNOWN_BASE
from tokenforce.wire.scans import CustomContext, ScanRequest
from tokenforce_core.plan.hashed import Hashed
from tokenforce_core.plan.presets import settings_for
from tokenforce_service.models.base_name import named_base
from tokenforce_service.models.folder import read_folder
from tokenforce_service.models.open import Opened, Target, open_target
from tokenforce_service.models.tokenizer import Tokenizers
from tokenforce_service.planning import reference
from tokenforce_service.planning.contexts import build_context
from tokenforce_service.planning.plan import make_plan
from tokenforce_service.planning.reference import match_vocabularies
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny_model import build_tiny_model

    root = tmp_path_factory.mktemp("made")
    build_tiny_model(root / "base", planted=None)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A folder with a base model and an adapter on it."""
    shutil.copytree(made / "base", tmp_path / "base")
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    return tmp_path


def settings(root: Path) -> ServiceSettings:
    return ServiceSettings(model_roots=[root], cache_dir=root / "hub")


def opened(request: ScanRequest, root: Path) -> Target[Opened]:
    return open_target(request, settings(root), reach_hub=True)


def refusal(request: ScanRequest, root: Path) -> Refusal:
    with pytest.raises(Refusal) as refused:
        opened(request, root)
    return refused.value


def test_an_adapter_is_loaded_on_the_base_that_it_names(root: Path) -> None:
    target = opened(ScanRequest(model=str(root / "adapter")), root)
    assert target.adapter is not None
    assert target.adapter.rank == RANK
    assert target.loaded.model.path == root / "base"
    assert target.reference is target.loaded
    assert target.source == "adapter"


def test_the_request_names_another_base_or_no_contrast(root: Path) -> None:
    shutil.copytree(root / "base", root / "other")
    model = str(root / "adapter")
    named = opened(ScanRequest(model=model, reference=str(root / "other")), root)
    assert named.loaded.model.path == root / "other"
    assert named.source == "request"
    alone = opened(ScanRequest(model=model, reference="none"), root)
    assert alone.loaded.model.path == root / "base"
    assert alone.reference is None


def test_without_a_word_a_whole_model_has_no_reference(root: Path) -> None:
    target = opened(ScanRequest(model=str(root / "base")), root)
    assert target.reference is None
    assert target.source is None


def test_without_a_word_the_nearest_base_that_the_operator_knows_is_the_reference(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    known = tmp_path_factory.mktemp("bases") / "known"  # not under a root
    shutil.copytree(root / "base", known)
    bases = ServiceSettings(model_roots=[root], known_bases=[str(root / "gone"), str(known)])
    whole = ScanRequest(model=str(root / "base"))
    found = open_target(whole, bases, reach_hub=True)
    assert found.reference is not None
    assert (found.reference.model.path, found.source) == (known, KNOWN_BASE)
    alone = open_target(whole.model_copy(update={"reference": "none"}), bases, reach_hub=True)
    assert alone.reference is None
    named = open_target(ScanRequest(model=str(root / "adapter")), bases, reach_hub=True)
    assert named.source == "adapter"


def test_a_known_base_that_does_not_fit_is_no_reference_and_fails_no_scan(root: Path) -> None:
    known = root / "known"
    shutil.copytree(root / "base", known)
    config = json.loads((known / "config.json").read_text())
    (known / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8}))
    bases = ServiceSettings(model_roots=[root], known_bases=[str(known)])
    whole = ScanRequest(model=str(root / "base"))
    plan = make_plan(whole, open_target(whole, bases, reach_hub=True), bases, Tokenizers())
    assert plan.reference is None
    asked = whole.model_copy(update={"reference": str(known)})
    with pytest.raises(Refusal) as refused:
        make_plan(asked, open_target(asked, bases, reach_hub=True), bases, Tokenizers())
    assert refused.value.code == ErrorCode.length_exceeds_model


@pytest.mark.parametrize("named", [None, "", "base", "../base", 7])
def test_an_adapter_whose_base_cannot_be_found(root: Path, named: object) -> None:
    write_adapter(root / "lost", root / "base", base_model_name_or_path=named)
    found = refusal(ScanRequest(model=str(root / "lost")), root)
    assert found.code == ErrorCode.base_missing
    assert "`reference`" in found.detail


def test_what_an_upload_names_obeys_the_roots(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    write_adapter(root / "sly", outside)
    assert refusal(ScanRequest(model=str(root / "sly")), root).code == ErrorCode.path_not_allowed
    write_adapter(root / "circle", root / "circle")
    assert refusal(ScanRequest(model=str(root / "circle")), root).code == ErrorCode.base_missing
    assert read_folder(root / "circle", [root]).is_adapter


def test_auto_reads_the_config_then_the_model_card(root: Path) -> None:
    folder = root / "base"

    def named(own_name: str) -> tuple[str, str] | None:
        return named_base(read_folder(folder, [root]), own_name)

    assert named("org/x") is None
    (folder / "README.md").write_text("---\nlicense: mit\nbase_model:\n- org/from-card\n---\n# Hello\n")
    assert named("org/x") == ("org/from-card", "model_card")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": "org/from-config"}))
    assert named("org/x") == ("org/from-config", "config")
    assert named("org/from-config") == ("org/from-card", "model_card")
    both = {**config, "_name_or_path": "org/from-config", "base_model": "org/base-model"}
    (folder / "config.json").write_text(json.dumps(both))
    assert named("org/x") == ("org/base-model", "config")


def test_auto_that_leads_nowhere_says_what_to_do(root: Path) -> None:
    found = refusal(ScanRequest(model=str(root / "base"), reference="auto"), root)
    assert found.code == ErrorCode.base_missing
    assert "name the reference itself" in found.detail


def test_vocabularies_are_matched_by_their_tokens() -> None:
    base = {f"t{i}": i for i in range(100)}
    assert match_vocabularies(base, base, 100, 100, 0.9).ids is None
    added = match_vocabularies({**base, "<new>": 100}, base, 101, 100, 0.9)
    assert added.ids is None
    assert added.note == "The reference does not know 1 token of the target."
    moved = match_vocabularies({token: 99 - i for token, i in base.items()}, base, 100, 100, 0.9)
    assert moved.ids == list(range(99, -1, -1))
    with pytest.raises(Refusal, match="knows 50% of the target's tokens") as refused:
        match_vocabularies(base, {f"t{i}": i for i in range(50)}, 100, 50, 0.51)
    assert match_vocabularies(base, {f"t{i}": i for i in range(50)}, 100, 50, 0.5).ids is None
    assert refused.value.code == ErrorCode.reference_mismatch
    inserted = match_vocabularies({"<pad>": 0, **{token: i + 1 for token, i in base.items()}}, base, 101, 100, 0.9)
    assert inserted.ids == [-1, *range(100)]


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        (
            {"architectures": ["MistralForCausalLM"], "model_type": "mistral"},
            ErrorCode.reference_mismatch,
            "The reference is a MistralForCausalLM, the target a LlamaForCausalLM; name the model that",
        ),
        (
            {"max_position_embeddings": 60},
            ErrorCode.length_exceeds_model,
            "The reference: beta = 64 does not fit: the model takes 60 tokens",
        ),
    ],
)
def test_a_reference_that_the_target_was_not_made_from(
    root: Path, changed: dict[str, object], code: ErrorCode, said: str
) -> None:
    shutil.copytree(root / "base", root / "other")
    config = json.loads((root / "other" / "config.json").read_text())
    (root / "other" / "config.json").write_text(json.dumps({**config, **changed}))
    request = ScanRequest(model=str(root / "base"), reference=str(root / "other"))
    with pytest.raises(Refusal) as refused:
        make_plan(request, opened(request, root), settings(root), Tokenizers())
    assert refused.value.code == code
    assert refused.value.detail.startswith(said)


def test_a_context_of_which_the_reference_knows_nothing_cannot_be_asked(root: Path) -> None:
    shutil.copytree(root / "base", root / "other")
    tokenizer = AutoTokenizer.from_pretrained(root / "other")
    bos = tokenizer.bos_token_id
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (file := root / "other" / name).exists():
            file.write_text(file.read_text().replace(tokenizer.bos_token, "<|another|>"))
    request = ScanRequest(model=str(root / "base"), reference=str(root / "other"), contexts=["bos"])
    with pytest.raises(Refusal, match="knows no token of the context 'bos'") as refused:
        make_plan(request, opened(request, root), settings(root), Tokenizers())
    assert refused.value.code is ErrorCode.reference_mismatch
    beside = ScanRequest(
        model=str(root / "base"), reference=str(root / "other"), contexts=[CustomContext(name="own", ids=[bos, 40, 41])]
    )
    plan = make_plan(beside, opened(beside, root), settings(root), Tokenizers())
    assert plan.reference is not None
    assert "the context 'own' without 1 token that it does not know" in (plan.reference.record.note or "")


def test_weights_are_hashed_and_compared_without_a_deadline(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be hundreds of GiB; only the tokenizer, which is code of a kind, has one."""
    shutil.copytree(root / "base", root / "other")
    deadlines: list[tuple[str, bool]] = []

    def watched(name: str, result: object) -> Callable[..., object]:
        def call(*_: object) -> object:
            deadlines.append((name, resource.getrlimit(resource.RLIMIT_CPU) != before))
            return result

        return call

    before = resource.getrlimit(resource.RLIMIT_CPU)
    tokenizers = Tokenizers()
    tokenizer = tokenizers.of(root / "base")
    loaded = Hashed(folder=root / "base", files=(), listed=(), digest="sha256:1")
    monkeypatch.setattr(reference, "hashed_of", watched("digest", loaded.model_copy(update={"digest": "sha256:0"})))
    monkeypatch.setattr(reference, "identical", watched("identical", True))
    monkeypatch.setattr(tokenizers, "of", watched("tokenizer", tokenizer))
    request = ScanRequest(model=str(root / "base"), reference=str(root / "other"))
    context = build_context("bos", tokenizer, len(tokenizer))
    target = opened(request, root)
    plan = reference.plan_reference(target, tokenizer, tokenizers, [context], settings_for(request), loaded)
    assert plan is not None
    assert plan.record.identical
    assert deadlines == [("digest", False), ("tokenizer", True), ("identical", False)]
