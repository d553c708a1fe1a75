"""`tokenforce fingerprints`: what the registry of known fingerprints holds, add to it, remove from it.

A secret given as an argument ends up in the shell's history and in the list of processes; files and stdin do not.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tokenforce.cli.exit_codes import UsageError, reporting
from tokenforce.cli.options import STDIN, Debug, Json, Url, text_of
from tokenforce.cli.render_registry import FINGERPRINTS
from tokenforce.cli.tables import print_removed
from tokenforce.sdk.client import Client
from tokenforce.sdk.fingerprints import fingerprint_request
from tokenforce.wire.fingerprints import TextHash, checked_text

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
        secret = text if text is not None else text_of(str(text_file), "--text-file")
        lines = text_of(triggers_file, "--triggers-file").splitlines() if triggers_file is not None else []
        request = fingerprint_request(
            owner=owner,
            licence=licence,
            text=None if hashed else secret,
            text_hash=_hash(secret) if hashed else None,
            triggers=[*(trigger or []), *(line for line in lines if line.strip())],
        )
        with Client(url) as client:
            FINGERPRINTS.print_one(client.fingerprints.create(**dict(request)), as_json=as_json)


@app.command("list")
def list_fingerprints(
    url: Url = None,
    limit: Annotated[int, typer.Option(min=1, help="Fingerprints to print.")] = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the registered fingerprints, the newest first."""
    with reporting(debug), Client(url) as client:
        FINGERPRINTS.print_first(limit, client.fingerprints.iter(), as_json=as_json)


@app.command()
def show(fingerprint_id: FingerprintId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Print one registered fingerprint, without its secrets."""
    with reporting(debug), Client(url) as client:
        FINGERPRINTS.print_one(client.fingerprints.get(fingerprint_id), as_json=as_json)


@app.command()
def remove(fingerprint_id: FingerprintId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Forget a fingerprint with its secrets. Reports that name it stay."""
    with reporting(debug), Client(url) as client:
        client.fingerprints.remove(fingerprint_id)
        print_removed(fingerprint_id, as_json=as_json)


def _hash(text: str) -> TextHash:
    try:
        checked_text(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return TextHash.of(text)
