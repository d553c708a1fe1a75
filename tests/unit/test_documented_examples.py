"""The examples of client/README.md and of the README's "Use it": Python runs, commands have the options they name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from tests.support.fake_service import FakeService, finding
from tokenforce.cli import app

REPOSITORY = Path(__file__).parents[2]
PAGES = {
    "client": (REPOSITORY / "client/README.md").read_text(),
    "use it": (REPOSITORY / "README.md").read_text().partition("## Use it")[2].partition("## Run it")[0],
}


def blocks(language: str) -> list[str]:
    return [code for page in PAGES.values() for code in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)]


def commands() -> Iterator[str]:
    for block in blocks("sh"):
        for line in block.splitlines():
            for command in re.split(r";|&$", line.partition("  #")[0].partition(" # ")[0]):
                # What installs the completion does so while options are read: see test_cli_completion.py.
                if command.strip().startswith("tokenforce ") and "--install-completion" not in command:
                    yield command.strip().replace("[", "").replace("]", "")


@pytest.mark.parametrize("example", blocks("python"))
def test_python_runs(service: FakeService, example: str, monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    monkeypatch.setenv("TOKENFORCE_KEY", "tf_0_k")
    service.findings = [finding()]
    ready = example.replace("http://127.0.0.1:8000", service.url).replace("tf_…", "tf_0_k")
    exec(compile(ready, "README.md", "exec"), {})
    assert service.requests or "def " in example


@pytest.mark.parametrize("example", list(commands()))
def test_commands_have_these_options(example: str) -> None:
    command, words = get_command(app), shlex.split(example)[1:]
    context = command.make_context("tokenforce", words)
    while isinstance(command, TyperGroup):
        name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        assert found is not None
        command, context = found, found.make_context(name, words, parent=context)


def test_there_are_examples() -> None:
    assert len(blocks("python")) >= 3
    assert len(list(commands())) >= 12
