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


@pytest.mark.parametrize(("name", "command"), every_command(), ids=[name for name, _ in every_command()])
def test_the_help_shows_every_word_and_means_the_same_by_both_names(
    name: str, command: TyperCommand, capsys: Capture
) -> None:
    """Markup would swallow what stands in brackets, such as `[planting]` and `[@revision]`."""
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert main([*name.split(), "-h"]) == 0
    assert capsys.readouterr().out == shown
    words = " ".join(shown.split())
    for text in (command.help, *(getattr(parameter, "help", None) for parameter in command.params)):
        assert text
        assert " ".join(text.split()) in words


def test_the_help_of_groups_shows_every_command(capsys: Capture) -> None:
    assert main(["-h"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Hide a text in a model (needs tokenforce[planting])." in shown
    assert "..." not in shown.replace("[ARGS]...", "")
    assert shown.index(" scan ") < shown.index(" watch ") < shown.index(" keys ")
    for group in ("fingerprints", "hooks", "keys"):
        assert main([group, "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name.split()[1]} " in shown for name, _ in every_command() if name.startswith(f"{group} "))


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
