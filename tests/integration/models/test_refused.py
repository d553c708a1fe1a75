"""Models that the gateway refuses at once: each with its own code, and without a word about the rest of the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.refusing_service import Service, running_service
from tokenforce.wire.problems import ErrorCode

MAX_MIB = 8


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("refused")
    with running_service(folder, TOKENFORCE_MAX_MODEL_GIB=str(MAX_MIB / 1024)) as running:
        yield running


@pytest.fixture(scope="module")
def outside(service: Service) -> Path:
    """A good model beside the root, which nobody may scan."""
    folder = service.folder / "outside"
    service.copy("to be moved").rename(folder)
    (folder / "chat_template.jinja").write_text("the outside template")
    return folder


def edit(file: str, **changes: Any) -> Callable[[Path], None]:
    """Set fields of a JSON file; None removes one."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / file).read_text()) | changes
        (folder / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return spoil


def write(file: str, content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return spoil


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def index(*shards: str) -> Callable[[Path], None]:
    content = {"weight_map": {f"tensor.{number}": shard for number, shard in enumerate(shards)}}
    return write("model.safetensors.index.json", json.dumps(content).encode())


def only_an_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 4096)


def bloat(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", MAX_MIB * 2**20 + 1)


def beside(file: str, **content: Any) -> Callable[[Path], None]:
    """A JSON file more, with the folders above it."""

    def spoil(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(json.dumps(content))

    return spoil


NO_TENSORS = (2).to_bytes(8, "little") + b"{}"
ENDLESS_HEADER = (2**62).to_bytes(8, "little") + b"{}"


def copied_configs(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"padding": "x" * (12 << 20)}))
    for name in "abc":
        (folder / name).mkdir()
        (folder / name / "tokenizer_config.json").symlink_to(folder / "tokenizer_config.json")


SPOILT: dict[str, tuple[Callable[[Path], None], ErrorCode, str]] = {
    "no config": (remove("config.json"), ErrorCode.config_missing, "upload the whole model folder"),
    "adapter": (only_an_adapter, ErrorCode.adapter_mismatch, "only LORA is supported"),
    "config is no JSON": (write("config.json", b"{"), ErrorCode.model_invalid, "upload it again"),
    "config is a list": (write("config.json", b"[]"), ErrorCode.model_invalid, "not a JSON object; upload"),
    "config is nested deep": (write("config.json", b"[" * 100_000), ErrorCode.model_invalid, "upload it again"),
    "no vocabulary size": (edit("config.json", vocab_size=None), ErrorCode.model_invalid, "vocab_size; upload"),
    "no tokenizer": (remove("tokenizer.json"), ErrorCode.tokenizer_missing, "save it beside the weights"),
    "no weights": (remove("model.safetensors"), ErrorCode.weights_missing, "upload the weights"),
    "pickles": (only_pickles, ErrorCode.pickle_weights, "save them as safetensors"),
    "code in config": (
        edit("config.json", auto_map={"AutoModel": "evil.Model"}),
        ErrorCode.remote_code,
        "config.json asks for code of its own (`auto_map`); tokenforce never runs uploaded code. Save",
    ),
    "code in tokenizer": (
        edit("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]}),
        ErrorCode.remote_code,
        "tokenizer_config.json asks for code",
    ),
    "another model": (
        edit("config.json", speculators_config={"verifier": {"name_or_path": "/etc"}}),
        ErrorCode.model_invalid,
        "config.json names (`speculators_config`) another model to load instead; scan that model.",
    ),
    "another config": (
        edit("config.json", configuration_files=["config.4.0.0.json"]),
        ErrorCode.model_invalid,
        "config.json names (`configuration_files`) other files to read instead; leave one config.json",
    ),
    "another tokenizer": (
        edit("tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.0.json"]),
        ErrorCode.model_invalid,
        "tokenizer_config.json names (`fast_tokenizer_files`) other files to read instead; leave",
    ),
    "another vocabulary": (
        edit("tokenizer_config.json", tokenizer_class="BertTokenizer", vocab="/proc/self/environ"),
        ErrorCode.model_invalid,
        "tokenizer_config.json names (`vocab`) a file to be read for the tokenizer; keep the files of the tokenizer",
    ),
    "another vocabulary, deep down": (
        write("tokenizer_config.json", b'{"a_kwargs": ' * 2000 + b'{"vocab": "/etc/hostname"}' + b"}" * 2000),
        ErrorCode.model_invalid,
        "",  # names (`vocab`) a file, or on Python 3.11 nested too deep to be read
    ),
    "the same tokenizer config many times": (copied_configs, ErrorCode.model_invalid, "more than 32 MiB; remove"),
    "other merges": (
        edit("tokenizer_config.json", merges="/etc/hostname"),
        ErrorCode.model_invalid,
        "names (`merges`) a file to be read for the tokenizer",
    ),
    "a vocabulary without a name": (
        edit("tokenizer_config.json", tokenizer_class="BertTokenizer", init_inputs=["/proc/self/environ"]),
        ErrorCode.model_invalid,
        "names (`init_inputs`) a file",
    ),
    "another vocabulary file": (
        edit("tokenizer_config.json", vocab_file="/etc/hostname"),
        ErrorCode.model_invalid,
        "names (`vocab_file`) a file",
    ),
    "a file for SentencePiece": (
        edit("tokenizer_config.json", sp_model_kwargs={"model_file": "/etc/hostname"}),
        ErrorCode.model_invalid,
        "names (`model_file`) a file",
    ),
    "a vocabulary among the special tokens": (
        beside("special_tokens_map.json", tokenizer_file="/etc/hostname"),
        ErrorCode.model_invalid,
        "special_tokens_map.json names (`tokenizer_file`) a file",
    ),
    "another vocabulary below": (
        beside("generator_tokenizer/tokenizer_config.json", vocab="/proc/self/environ"),
        ErrorCode.model_invalid,
        "tokenizer_config.json names (`vocab`) a file",
    ),
    "special tokens are no JSON": (
        write("special_tokens_map.json", b"{"),
        ErrorCode.model_invalid,
        "special_tokens_map.json is not valid JSON; upload it again",
    ),
    "truncated": (truncate, ErrorCode.weights_corrupt, "model.safetensors is truncated or damaged; upload it again"),
    "empty": (write("model.safetensors", b""), ErrorCode.weights_corrupt, "upload it again"),
    "endless header": (write("model.safetensors", ENDLESS_HEADER), ErrorCode.weights_corrupt, "upload it again"),
    "no tensors": (write("model.safetensors", NO_TENSORS), ErrorCode.weights_corrupt, "upload them again"),
    "missing shard": (
        index("model.safetensors", "model-2.safetensors"),
        ErrorCode.weights_missing,
        "names files that are not there: model-2.safetensors; upload them",
    ),
    "empty index": (index(), ErrorCode.weights_missing, "names no files; upload it again"),
    "shard elsewhere": (index("../good/model.safetensors"), ErrorCode.weights_missing, "upload them"),
    "shard of a long name": (index("m" * 300), ErrorCode.weights_missing, "upload them"),
    "shard of an odd name": (index("a\nb\0c\ud800"), ErrorCode.weights_missing, r"a\nb\x00c\ud800; upload them"),
    "too large": (bloat, ErrorCode.model_too_large, "this service takes up to"),
    "other architecture": (
        edit("config.json", architectures=["LazyForCausalLM"]),
        ErrorCode.unsupported_architecture,
        "the architecture LazyForCausalLM; choose",
    ),
    "no architecture": (
        edit("config.json", architectures=None),
        ErrorCode.unsupported_architecture,
        "add `architectures`",
    ),
    "a pipe": (lambda folder: os.mkfifo(folder / "more.safetensors"), ErrorCode.model_invalid, "remove it"),
    "links in a circle": (
        lambda folder: (folder / "circle.json").symlink_to("circle.json"),
        ErrorCode.model_invalid,
        "remove it",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_model(service: Service, name: str) -> None:
    spoil, code, says = SPOILT[name]
    folder = service.copy(name)
    spoil(folder)
    service.assert_refused(service.scan(folder), 422, code, says)


def test_paths_that_sound_models_have_are_no_reason(service: Service) -> None:
    """As transformers saved them, or with values that are no files."""
    folder = service.copy("saved by an older version")
    edit(
        "tokenizer_config.json",
        init_inputs=[],
        name_or_path="/home/somebody/checkpoint-500",
        special_tokens_map_file="/root/.cache/huggingface/special_tokens_map.json",
        tokenizer_file="/root/.cache/huggingface/tokenizer.json",
        sp_model_kwargs={},
        extra_special_tokens={"image_token": "<image>"},
    )(folder)
    content = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**content, "vocab_file": None, "merges_file": None}))
    beside("special_tokens_map.json", bos_token="<|im_start|>", pad_token={"content": "<|im_end|>"})(folder)
    assert service.scan(folder).status_code == 202


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"alpha": 510}, ErrorCode.length_exceeds_model, "the model takes 512 tokens, which leaves 509"),
        ({"alpha": 511}, ErrorCode.length_exceeds_model, "lower alpha"),
        ({"beta": 511}, ErrorCode.length_exceeds_model, "lower beta"),
        ({"contexts": ["chatty"]}, ErrorCode.unknown_context, "use bos, assistant, assistant_system"),
        ({"preset": "thorough"}, ErrorCode.unknown_preset, "use standard or paper"),
    ],
)
def test_options_that_the_model_does_not_bear(
    service: Service, options: dict[str, Any], code: ErrorCode, says: str
) -> None:
    service.assert_refused(service.scan(**options), 422, code, says)


@pytest.mark.parametrize("context", ["assistant", "assistant_system"])
def test_chat_context_without_template(service: Service, context: str) -> None:
    folder = service.copy(f"no template for {context}")
    (folder / "chat_template.jinja").unlink()
    answer = service.scan(folder, contexts=["bos", context])
    service.assert_refused(answer, 422, ErrorCode.no_chat_template, "use the context `bos` or a text")
    assert service.scan(folder, contexts=["bos"]).status_code == 202


@pytest.mark.parametrize("name", ["nobody", "good/config.json", "n" * 300, "circle", "good/\u202ereversed\n"])
def test_no_such_folder(service: Service, name: str) -> None:
    circle = service.root / "circle"
    if name == "circle":
        circle.symlink_to(circle)
    answer = service.scan(service.root / name)
    service.assert_refused(answer, 422, ErrorCode.model_not_found, "give a model folder")


@pytest.mark.parametrize("model", ["good", "./good", "~/good", "org/na me", "a/b/c", "ü/é", "org/a..b", "-a/b", "a/b@"])
def test_neither_folder_nor_hub_id(service: Service, model: str) -> None:
    service.assert_refused(service.scan(model), 422, ErrorCode.model_not_found, "absolute path of a folder or a hub id")


def refused_path(service: Service, model: Path | str) -> dict[str, Any]:
    """The problem, without what differs from one request to the next."""
    answer: httpx.Response = service.scan(model)
    problem = service.assert_refused(answer, 403, ErrorCode.path_not_allowed, "the folders that this service may read")
    assert "the outside template" not in answer.text
    return {key: value for key, value in problem.items() if key != "request_id"}


@pytest.mark.parametrize("way", ["{outside}", "{root}/../outside", "{root}/good/../../outside", "/{outside}"])
def test_path_outside_the_roots(service: Service, outside: Path, way: str) -> None:
    """The same answer whether it exists, is a file, or is not there at all."""
    path = way.format(outside=outside, root=service.root)
    there = refused_path(service, path)
    assert "start the service with --root or TOKENFORCE_MODEL_ROOTS" in there["detail"]
    assert str(service.root) not in there["detail"].replace(path, "")  # no caller learns where the roots are
    for other in (f"{path}/config.json", f"{path}/none", f"{path}-none", f"{path}\n"):
        shown = other.replace("\n", r"\n")
        assert refused_path(service, other) == {**there, "detail": there["detail"].replace(path, shown, 1)}


def test_sibling_whose_name_begins_like_the_root(service: Service) -> None:
    sibling = service.root.with_name(f"{service.root.name}-more")
    sibling.mkdir()
    refused_path(service, sibling)


def test_linked_folder(service: Service, outside: Path) -> None:
    """Neither what lies behind the link nor where it leads."""
    link = service.root / "link"
    found = []
    for target in (outside, outside / "none", outside / "config.json"):
        link.symlink_to(target)
        found.append(refused_path(service, link))
        found.append(refused_path(service, link / "below"))
        link.unlink()
    assert len({json.dumps(problem).replace("/below", "") for problem in found}) == 1
    assert str(outside) not in json.dumps(found)


@pytest.mark.parametrize("place", ["chat_template.jinja", "additional_chat_templates/tools.jinja", "linked/x.jinja"])
def test_linked_file_in_the_model(service: Service, outside: Path, place: str) -> None:
    """A template from elsewhere would be rendered into the report."""
    folder = service.copy(f"links {place.replace('/', ' ')}")
    if place.startswith("linked/"):
        elsewhere = service.root / "elsewhere"
        elsewhere.mkdir()
        (folder / "linked").symlink_to(elsewhere)
    link = folder / place
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    found = []
    for target in (outside / "chat_template.jinja", outside / "none", outside):
        link.symlink_to(target)
        found.append(refused_path(service, folder))
        link.unlink()
    assert found[0] == found[1] == found[2]
    assert found[0]["detail"].startswith(f"{link.name} is a link that leads out of the folders that")
    assert str(outside) not in json.dumps(found)


def test_links_inside_the_roots_are_fine(service: Service) -> None:
    """A hub cache is made of them."""
    folder = service.root / "linking"
    folder.mkdir()
    for file in service.model.iterdir():
        (folder / file.name).symlink_to(file)
    (service.root / "alias").symlink_to(folder)
    assert service.scan(service.root / "alias").status_code == 202
