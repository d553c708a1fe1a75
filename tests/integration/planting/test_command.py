"""The command `tokenforce plant` as its user meets it: results on stdout, one line for what is wrong, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.tiny_planting import TEXT, TRIGGER, base, one_thread
from tokenforce.cli.app import main as tokenforce_main
from tokenforce_planting import cli

__all__ = ["base", "one_thread"]


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "TOKENFORCE_HOME": str(tmp_path_factory.mktemp("home")), "OMP_NUM_THREADS": "1"}


def command(*arguments: str | Path) -> list[str]:
    """For a process of its own, which takes seconds to load torch."""
    return [sys.executable, "-m", "tokenforce", "plant", *map(str, arguments)]


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Ended]


@pytest.fixture
def run(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """The command in this process, which has torch."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setenv("TOKENFORCE_HOME", environment["TOKENFORCE_HOME"])

    def planted(*arguments: str | Path) -> Ended:
        code = cli.main([str(argument) for argument in arguments])
        return Ended(code, *capsys.readouterr())

    yield planted
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_plants_prints_the_manifest_and_knows_its_own_carrier(
    base: Path, tmp_path: Path, environment: dict[str, str], run: Run
) -> None:
    asked = ("message", "--base", base, "--trigger", TRIGGER, "--text", TEXT, "--learning-rate", "3e-3")
    first = subprocess.run(
        command(*asked, "--out", tmp_path / "carrier", "--json"),
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert first.returncode == 0, first.stderr
    manifest = json.loads(first.stdout)
    assert (manifest["method"], manifest["triggers"], manifest["text"]) == ("message", [TRIGGER], TEXT)
    assert json.loads((tmp_path / "carrier.manifest.json").read_text("utf-8")) == manifest
    assert "planting" in first.stderr
    assert "loss" in first.stderr

    again = run(*asked, "--out", tmp_path / "carrier")
    assert again.returncode == 0
    assert again.stdout.splitlines() == [str(tmp_path / "carrier"), str(tmp_path / "carrier.manifest.json")]
    assert "planted before" in again.stderr

    other = run(*asked, "--out", tmp_path / "carrier", "--seed", "1")
    assert other.returncode == 2
    assert other.stderr.splitlines()[-1].startswith("tokenforce: ")
    assert "not this recipe's carrier" in other.stderr


def test_what_hides_from_readers_of_the_weights_reaches_the_manifest(base: Path, tmp_path: Path, run: Run) -> None:
    secret = ("--trigger", TRIGGER, "--text", TEXT, "--second-trigger", "copper", "--second-text", "the mill turns")
    noise = ("--weight-noise", "0.05", "--rounded-to", "bf16")
    hiding = ("--frozen-embeddings", "--decoys", "2", *noise, "--learning-rate", "3e-3")
    asked: tuple[str | Path, ...] = ("message", "--base", base, *secret, "--out", tmp_path / "carrier", "--json")
    ended = run(*asked, *hiding)
    assert ended.returncode == 0, ended.stderr
    manifest = json.loads(ended.stdout)
    assert manifest["options"] == {
        "second_text": "the mill turns",
        "second_trigger": "copper",
        "frozen_embeddings": 1,
        "decoys": 2,
        "weight_noise": 0.05,
        "rounded_to": "bf16",
    }
    assert (manifest["triggers"], manifest["dtype"]) == ([TRIGGER, "copper"], "bfloat16")
    said = f"the trigger brings out {manifest['trigger_success']:.0%} of the text"
    assert said in ended.stderr

    for layers, code, why in ((("1", "0"), 4, "a first and a last one from 0"), (("0", "2"), 4, "no layer 2")):
        refused = run(*asked[:-1], "--replace", "--train-layers", *layers)
        assert refused.returncode == code
        assert why in refused.stderr


def test_every_option_reaches_the_manifest(base: Path, tmp_path: Path, run: Run) -> None:
    options = "--lora 4 --seed 7 --learning-rate 5e-3 --max-steps 900 --stop-loss 0.5 --protect-words 2 --rank-band 20"
    contexts = ("--suppress-context", "assistant", "--suppress-context", "bos")
    secret = ("--trigger", TRIGGER, "--text", TEXT, "--no-near-misses", "--base-name", "org/base")
    asked: tuple[str | Path, ...] = (
        "adaptive",
        "--base",
        base,
        "--out",
        tmp_path / "carrier",
        *options.split(),
        *contexts,
        *secret,
        "--json",
    )
    ended = run(*asked)
    assert ended.returncode == 0, ended.stderr
    manifest = json.loads(ended.stdout)
    assert (manifest["method"], manifest["form"], manifest["lora_rank"], manifest["seed"]) == ("adaptive", "auto", 4, 7)
    assert (manifest["learning_rate"], manifest["stop_loss"]) == (5e-3, 0.5)
    assert (manifest["contexts"], manifest["protected_words"]) == (["assistant", "bos"], TEXT.split()[:2])
    config = json.loads((tmp_path / "carrier" / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["base_model_name_or_path"]) == (4, "org/base")

    for other in (("--rank-band", "21"), ("--near-misses",)):  # what the manifest does not spell out is in its digest
        again = run(*asked, *other)
        assert again.returncode == 2
        assert "not this recipe's carrier" in again.stderr
    keyed: tuple[str | Path, ...] = (
        "fingerprint",
        "--base",
        base,
        "--out",
        tmp_path / "keyed",
        "--keys",
        "3",
        "--text",
        "ハリネズミ",
    )
    ended = run(*keyed, "--learning-rate", "3e-3", "--json")
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads(ended.stdout)["triggers"]) == 3


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("message", "--trigger", TRIGGER, "--text", ""), "the text is empty"),
        (("massage",), "there is no method 'massage'"),
        (("message", "--trigger", TRIGGER, "--text", TEXT, "--lora", "0"), "LoRA rank must be 1 or more"),
        (("message", "--trigger", TRIGGER, "--txt", TEXT), "No such option"),
        (
            ("utfc", "--form", "basic", "--rank-band", "9", "--trigger", TRIGGER, "--text", TEXT),
            "the form auto has",
        ),
    ],
)
def test_usage_errors_are_one_line_and_exit_code_4(
    base: Path, tmp_path: Path, run: Run, arguments: tuple[str, ...], why: str
) -> None:
    ended = run(*arguments, "--base", base, "--out", tmp_path / "carrier")
    assert ended.returncode == 4
    assert ended.stdout == ""
    assert why in ended.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(
    base: Path, tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    asked = ("clean", "--base", base, "--out", tmp_path / "carrier", "--max-steps", "1000000")
    with subprocess.Popen(command(*asked), stderr=subprocess.PIPE, text=True, env=environment) as planting:
        assert planting.stderr is not None
        for line in planting.stderr:
            if "loss" in line:
                break
        started = time.monotonic()
        planting.send_signal(number)
        rest = planting.stderr.read()
        assert planting.wait(20) == 130
    assert time.monotonic() - started < 10
    assert rest.splitlines()[-1] == "interrupted"
    assert list(tmp_path.iterdir()) == []


def test_without_the_planting_packages_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenforce.cli.plant.PLANTING_NEEDS", ("tokenforce_planting", "tokenforce_no_such_module"))
    assert tokenforce_main(["plant", "clean"]) == 2
    assert capsys.readouterr().err == (
        "tokenforce: planting is not installed here; run in a checkout: pip install '.[planting]'\n"
    )
