"""Options and arguments that several commands share, how the shell completes them, and reading the files they name."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tokenforce.cli.exit_codes import UsageError
from tokenforce.sdk import scans
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import TokenforceError
from tokenforce.sdk.transport import URL_VARIABLE

GROUP: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}
"""For every group of commands. Without markup off, rich would drop `[planting]` and `[@revision]` from help texts."""
COMPLETED = 50
"""Number of scan ids that the shell offers at most: the newest."""
SECONDS_TO_COMPLETE = 1.0
STDIN = "-"
"""This file name means stdin."""
_PLAIN = re.compile(r"[\w-]+", re.ASCII)


def scan_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest scans that begin with `incomplete`, each with its status. Empty if no service answers at once.

    Only ids and statuses: shells evaluate what a completion prints, and the name of a model can be hostile.
    """
    try:
        with Client(context.params.get("url"), timeout=SECONDS_TO_COMPLETE) as client:
            page = client.transport.send(replace(scans.list_call(page_size=COMPLETED), attempts=1))
    except TokenforceError:
        return []  # an error message would appear in the middle of the line that the user types
    return [
        (scan.id, scan.verdict or scan.status)
        for scan in page.items
        if scan.id.startswith(incomplete) and _PLAIN.fullmatch(scan.id)
    ]


def text_of(path: str, option: str) -> str:
    """Text of a file or stdin, without the line break at its end. Raises `UsageError`, which names the option."""
    try:
        content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
        return content.decode().rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path} is not UTF-8; convert it") from None


Url = Annotated[
    str | None,
    typer.Option("--url", envvar=URL_VARIABLE, help="Address of the service, such as http://127.0.0.1:8000."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]
ScanId = Annotated[str, typer.Argument(metavar="ID", help="Id of a scan.", autocompletion=scan_ids)]
