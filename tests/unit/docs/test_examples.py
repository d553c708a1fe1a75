"""Commands and requests that the documents show: they exist, and client/README.md shows one scan in three ways.

Their Python runs in tests/integration/docs/test_documented_python.py.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import fakeredis
import pytest
from typer.core import TyperGroup
from typer.main import get_command

from tests.support.documented import PAGES, blocks, lines
from tokenforce.cli.app import app
from tokenforce.wire.scans import ScanRequest
from tokenforce_planting import cli as planting
from tokenforce_planting.recipe import Recipe
from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings

# What installs the completion does so while options are read: see tests/unit/cli/test_completion.py.
COMMANDS = [
    (page, line.replace("[", "").replace("]", ""))
    for page, line in lines()
    if line.startswith("tokenforce ") and "--install-completion" not in line
]
CURLS = [(page, line) for page, line in lines() if line.startswith("curl ")]


def read_command(example: str) -> tuple[list[str], dict[str, Any]]:
    """The names of the command and its options, as the command line reads them."""
    command, words = get_command(app), shlex.split(example)[1:]
    context, names = command.make_context("tokenforce", words), []
    while isinstance(command, TyperGroup):
        name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        assert found is not None
        names.append(name)
        command, context = found, found.make_context(name, words, parent=context)
    if names == ["plant"]:  # it takes any words and gives them to the command of the planting package
        context = get_command(planting.app).make_context("plant", shlex.split(example)[2:])
    return names, context.params


def read_curl(example: str) -> tuple[str, str, dict[str, str], Any]:
    """Method, path, headers and JSON body of a request."""
    words = iter(shlex.split(example)[1:])
    method, target, headers, body = "GET", "", {}, None
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            method, body = "POST", json.loads(next(words))
        elif word != "-s":
            target = word
    return method, target.removeprefix("$TOKENFORCE_URL"), headers, body


@pytest.mark.parametrize(("page", "example"), COMMANDS)
def test_commands_have_these_options(page: str, example: str) -> None:
    assert read_command(example)[0], page


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_exist(page: str) -> None:
    prose = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    with get_command(app).make_context("tokenforce", []) as context:
        known = set(cast(TyperGroup, context.command).list_commands(context))
    assert set(re.findall(r"`tokenforce ([a-z]+)", prose)) <= known


@pytest.mark.parametrize(("page", "example"), CURLS)
def test_requests_are_those_of_the_openapi_document(page: str, example: str) -> None:
    method, target, headers, body = read_curl(example)
    url = urlsplit(target)
    document = create_app(ServiceSettings(), fakeredis.FakeRedis()).openapi()
    operation = document["paths"][url.path.replace("$ID", "{scan_id}")][method.lower()]
    asked = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
    assert {name for name, _ in parse_qsl(url.query)} <= asked
    assert headers.pop("$auth", None) == "", page
    assert 'auth="authorization: Bearer $TOKENFORCE_KEY"' in PAGES[page]
    if body is not None:
        assert headers == {"content-type": "application/json"}
        assert ScanRequest.model_validate(body).model == body["model"]


def test_the_same_scan_is_shown_three_ways() -> None:
    """By the first `scan` of client/README.md, its first Python and its first POST."""
    page = "client"
    command = next(line for name, line in COMMANDS if name == page and line.split()[1] == "scan")
    asked = {
        name: value for name, value in read_command(command)[1].items() if name in ("model", "preset", "reference")
    }
    code = next(code for name, code in blocks("python") if name == page)
    given = re.search(r"scans\.create\((.*?)\)", code)
    assert given is not None
    by_sdk = ScanRequest(**dict(re.findall(r'(\w+)="(.*?)"', given[1])))
    by_curl = next(read_curl(line)[3] for name, line in CURLS if name == page and " -d " in line)
    assert ScanRequest.model_validate(by_curl) == by_sdk == ScanRequest(**asked)


def test_there_are_examples() -> None:
    assert len(COMMANDS) >= 16
    assert len(CURLS) == 6


def test_the_python_of_planting_makes_a_valid_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    planted: list[Recipe] = []
    monkeypatch.setattr("tokenforce_planting.plant.plant", lambda recipe, _base, _out: planted.append(recipe.normal()))
    (code,) = [code for page, code in blocks("python") if page == "planting"]
    exec(compile(code, "README.md", "exec"), {})
    assert [recipe.method for recipe in planted] == ["adaptive"]
