"""`tokenforce doctor`: what of the machine, the service and the key works, and what to do about the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokenforce.cli import output
from tokenforce.cli.doctor.check import Check, Level
from tokenforce.cli.doctor.engine import engine_checks
from tokenforce.cli.doctor.host import host_checks
from tokenforce.cli.doctor.redis import store_check
from tokenforce.cli.doctor.service import service_checks
from tokenforce.cli.exit_codes import ExitCode, reporting
from tokenforce.cli.options import Debug, Json, Url

STYLES = {Level.ok: "green", Level.warn: "yellow", Level.fail: "bold red"}


def doctor(url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Check this machine, the service and the key, and say what to do. Exits with 2 if something fails, else with 0.

    Loads the engine once, if it is installed: that takes seconds. Shows no secrets.
    """
    with reporting(debug):
        checks = list(_looking(url))
        if as_json:
            output.print_json(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
        else:
            _print(checks)
        raise typer.Exit(ExitCode.error if any(check.level is Level.fail for check in checks) else ExitCode.clean)


def _looking(url: str | None) -> Iterator[Check]:
    parts: dict[str, Callable[[], Sequence[Check]]] = {
        "this machine": host_checks,
        "the service": lambda: service_checks(url),
        "Redis": lambda: [store_check()],
        "the engine": engine_checks,
    }
    console = Console(file=sys.stderr, markup=False, highlight=False)
    for name, look in parts.items():
        if console.is_terminal:
            with console.status(f"looking at {name}"):
                found = look()
        else:
            found = look()
        yield from found


def _print(checks: Sequence[Check]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for check in checks:
        found = Text(output.visible(check.found))
        if check.advice:
            found.append(f"\n→ {output.visible(check.advice)}", style="bold" if check.level is not Level.ok else "")
        table.add_row(Text(check.level, STYLES[check.level]), Text(check.name), found)
    console = output.stdout()
    console.print(table)
    count = {level: sum(check.level is level for check in checks) for level in Level}
    console.print(f"{count[Level.ok]} ok, {count[Level.warn]} to look at, {count[Level.fail]} broken")
