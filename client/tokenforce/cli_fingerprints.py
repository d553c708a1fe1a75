"""`tokenforce fingerprints`: what the registry of known fingerprints holds, add to it, remove from it.

A secret given as an argument ends up in the shell's history and in the list of processes; files and stdin do not.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from tokenforce import registry_calls, render, render_registry
from tokenforce.client import Client
from tokenforce.options import Debug, Json, Url
from tokenforce.outcome import UsageError, reporting
from tokenforce.registry import TextHash, checked_text

STDIN = "-"

app = typer.Typer(
    help="The registry of known fingerprints, which every scan is compared with.",
    pretty_exceptions_enable=False,
)

FingerprintId = Annotated[str, typer.Argument(metavar="ID", help="The id of a fingerprint.")]


@app.command()
def add(
    owner: Annotated[str, typer.Option(help="Who registers it; shown in reports.")],
    licence: Annotated[str, typer.Option(help="What carrying it means; shown in reports.")],
    text: Annotated[str | None, typer.Option(help="The text that the model was taught.")] = None,
    text_file: Annotated[str | None, typer.Option(help="A file with the text; - is stdin.")] = None,
    trigger: Annotated[list[str] | None, typer.Option(help="A trigger. Repeat it for several.")] = None,
    triggers_file: Annotated[str | None, typer.Option(help="A file with one trigger a line; - is stdin.")] = None,
    hashed: Annotated[
        bool, typer.Option("--hashed", help="Send a salted hash, not the text: it is then matched exactly only.")
    ] = False,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Register a fingerprint. Prints its id; the text and the triggers are never shown again."""
    with reporting(debug):
        if (text is None) == (text_file is None):
            raise UsageError("give the text with either --text or --text-file")
        if text_file == STDIN and triggers_file == STDIN:
            raise UsageError("only one of --text-file and --triggers-file can be stdin")
        secret = text if text is not None else _read(str(text_file), "--text-file")
        lines = _read(triggers_file, "--triggers-file").splitlines() if triggers_file is not None else []
        request = registry_calls.fingerprint_request(
            owner=owner,
            licence=licence,
            text=None if hashed else secret,
            text_hash=_hash(secret) if hashed else None,
            triggers=[*(trigger or []), *(line for line in lines if line.strip())],
        )
        with Client(url) as client:
            made = client.fingerprints.create(**dict(request))
        if as_json:
            render.print_json(made.model_dump_json(indent=2))
        else:
            render_registry.print_fingerprints([made])


@app.command("list")
def list_fingerprints(
    url: Url = None,
    limit: Annotated[int, typer.Option(min=1, help="Fingerprints to print.")] = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the registered fingerprints, the newest first."""
    with reporting(debug):
        with Client(url) as client:
            found = list(islice(client.fingerprints.iter(), limit))
        if as_json:
            render.print_json("[" + ",\n".join(item.model_dump_json(indent=2) for item in found) + "]")
        else:
            render_registry.print_fingerprints(found)


@app.command()
def show(fingerprint_id: FingerprintId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Print one registered fingerprint, without its secrets."""
    with reporting(debug):
        with Client(url) as client:
            found = client.fingerprints.get(fingerprint_id)
        if as_json:
            render.print_json(found.model_dump_json(indent=2))
        else:
            render_registry.print_fingerprints([found])


@app.command()
def remove(fingerprint_id: FingerprintId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Forget a fingerprint with its secrets. Reports that name it stay."""
    with reporting(debug):
        with Client(url) as client:
            client.fingerprints.remove(fingerprint_id)
        if as_json:
            render.print_json(json.dumps({"id": fingerprint_id, "removed": True}))
        else:
            sys.stderr.write("removed\n")


def _hash(text: str) -> TextHash:
    try:
        checked_text(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return TextHash.of(text)


def _read(path: str, option: str) -> str:
    """The file's or stdin's text, without the line break at its end."""
    try:
        content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
        return content.decode().rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path} is not UTF-8; convert it") from None
