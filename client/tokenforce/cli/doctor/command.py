"""`tokenforce doctor`: what works, and how to fix the rest."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import asdict
from multiprocessing.pool import ThreadPool

import typer
from rich.text import Text

from tokenforce.cli import output
from tokenforce.cli.doctor.check import Check, Level
from tokenforce.cli.doctor.machine import SECONDS, machine_checks
from tokenforce.cli.doctor.service import START_IT, service_checks
from tokenforce.cli.exit_codes import ExitCode, reporting
from tokenforce.cli.options import Debug, Json, Url

STYLES = {Level.ok: "green", Level.warn: "yellow", Level.fail: "bold red"}


def doctor(url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Check the service, the key, Redis, the engine and the disk.

    Says how to fix problems. Exits with 2 if a check fails, else with 0. Prints no secrets.
    """
    with reporting(debug):
        with ThreadPool(2) as pool:  # of daemons: nobody waits for a name server that takes minutes
            service, machine = pool.apply_async(service_checks, (url,)), pool.apply_async(machine_checks)
            try:
                checks = service.get(SECONDS)
            except multiprocessing.TimeoutError:
                checks = [Check("service", Level.fail, f"no answer within {SECONDS:g} s", START_IT)]
            checks += machine.get()
        if as_json:
            output.print_json(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
        else:
            _print(checks)
        raise typer.Exit(ExitCode.error if any(check.level is Level.fail for check in checks) else ExitCode.clean)


def _print(checks: list[Check]) -> None:
    for check in checks:
        line = Text.assemble((f"{check.level:<6}", STYLES[check.level]), f"{check.name}: {output.visible(check.found)}")
        if check.advice:
            line.append(f"\n      → {output.visible(check.advice)}", style="bold")
        output.stdout().print(line, soft_wrap=True)
    ok, warn, fail = (sum(check.level is level for check in checks) for level in Level)
    output.stdout().print(f"{ok} passed, {warn} warning{'' if warn == 1 else 's'}, {fail} failed")
