"""`tokenforce doctor`: what works, and how to fix the rest."""

from __future__ import annotations

import json
import time
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

LATE = {"service": START_IT, "this machine": "look for a disk that does not answer"}
LONGEST_SECONDS = SECONDS + 0.2  # the machine's checks end by themselves after SECONDS
STYLES = {Level.ok: "green", Level.warn: "yellow", Level.fail: "bold red"}


def doctor(url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Check the service, the key, Redis, the engine and the disk.

    Says how to fix problems. Exits with 2 if a check fails, else with 0. Prints no secrets.
    """
    with reporting(debug), ThreadPool(2) as pool:  # of daemons: nobody waits for a name server or a disk for minutes
        parts = pool.apply_async(service_checks, (url,)), pool.apply_async(machine_checks)
        until = time.monotonic() + LONGEST_SECONDS
        for part in parts:
            part.wait(max(0.0, until - time.monotonic()))
        checks: list[Check] = []
        for part, (name, fix) in zip(parts, LATE.items(), strict=True):
            checks += part.get() if part.ready() else [Check(name, Level.fail, f"no answer within {SECONDS:g} s", fix)]
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
    output.stdout().print(", ".join(f"{sum(check.level is level for check in checks)} {level}" for level in Level))
