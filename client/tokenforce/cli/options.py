"""Options and arguments that several commands have, how the shell completes them, and the files that they name."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tokenforce.cli.exit_codes import UsageError
from tokenforce.sdk import scans
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import TokenforceError
from tokenforce.sdk.transport import URL_VARIABLE

COMPLETED = 50
"""Ids offered at most: the newest."""
SECONDS_TO_COMPLETE = 1.0
STDIN = "-"
"""As the name of a file."""
_PLAIN = re.compile(r"[\w-]+", re.ASCII)


def scan_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest scans that begin so, each with its status. Nothing where no service answers at once.

    Only ids and statuses: shells evaluate what a completion prints, and a model's name can be hostile.
    """
    try:
        with Client(context.params.get("url"), timeout=SECONDS_TO_COMPLETE) as client:
            page = client.transport.send(replace(scans.list_call(page_size=COMPLETED), attempts=1))
    except TokenforceError:
        return []  # a word on it would end up in the middle of the line that is being typed
    return [
        (scan.id, scan.verdict or scan.status)
        for scan in page.items
        if scan.id.startswith(incomplete) and _PLAIN.fullmatch(scan.id)
    ]


def text_of(path: str, option: str) -> str:
    """A file's or stdin's text, without the line break at its end. Raises `UsageError`, which names the option."""
    try:
        content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
        return content.decode().rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path} is not UTF-8; convert it") from None


Url = Annotated[
    str | None, typer.Option("--url", envvar=URL_VARIABLE, help="The service, such as http://127.0.0.1:8000.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]
ScanId = Annotated[str, typer.Argument(metavar="ID", help="The id of a scan.", autocompletion=scan_ids)]
