"""Rules that every command keeps, found by walking them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from tests.support.fake_service import FakeService
from tokenforce.cli.app import app, main

Capture = pytest.CaptureFixture[str]

WITHOUT_SERVICE = {"up"}
HANDED_OVER = {"plant"}
"""To another package, with its options."""


def commands(group: TyperGroup, name: str = "") -> Iterator[tuple[str, TyperCommand]]:
    for part, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{name}{part} ")
        elif isinstance(command, TyperCommand):
            yield name + part, command


def every_command() -> list[tuple[str, TyperCommand]]:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return [(name, command) for name, command in commands(group) if name not in HANDED_OVER]


@pytest.mark.parametrize(("name", "command"), every_command(), ids=[name for name, _ in every_command()])
def test_the_shared_options_are_everywhere(name: str, command: TyperCommand) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--debug"} <= options
    assert ("--url" in options) == (name not in WITHOUT_SERVICE)
    assert command.help


def test_the_walk_finds_them() -> None:
    found = {name for name, _ in every_command()}
    assert {
        "scan",
        "report",
        "doctor",
        "watch",
        "hooks create",
        "hooks test",
        "keys revoke",
        "fingerprints add",
    } <= found


@pytest.mark.parametrize(
    "words",
    [
        ["hooks", "list"],
        ["hooks", "remove", "hook_1"],
        ["hooks", "test", "hook_1"],
        ["hooks", "create", "upload", "--repo", "*"],
    ],
)
def test_a_traceback_only_with_debug(
    service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("TOKENFORCE_HOOK_SECRET", "a secret")
    service.fail(403, "scope_missing")
    assert main([*words, "--json"]) == 2
    assert capsys.readouterr() == ("", "tokenforce: scope_missing: do this (request r-9)\n")
    assert main([*words, "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["--debug", *words]) == 2
    assert "Traceback" in capsys.readouterr().err
