"""`tokenforce fingerprints`: register, list and remove fingerprints.

Pass secrets in a file or on stdin. An argument is visible in the shell's history and in the list of processes.
"""

from __future__ import annotations

from typing import Annotated

import typer

from tokenforce.cli.exit_codes import UsageError, reporting
from tokenforce.cli.options import GROUP, STDIN, Debug, Json, Url, text_of
from tokenforce.cli.tables import Listing, minute, print_removed
from tokenforce.sdk.client import Client
from tokenforce.sdk.fingerprints import fingerprint_request
from tokenforce.wire.fingerprints import Fingerprint, TextHash, checked_text

app = typer.Typer(help="Fingerprints: registered texts that every scan looks for.", **GROUP)

FingerprintId = Annotated[str, typer.Argument(metavar="ID", help="Id of a fingerprint.")]


@app.command()
def add(
    owner: Annotated[str, typer.Option(help="Owner of the fingerprint; reports show it.")],
    licence: Annotated[str, typer.Option(help="Licence of models that carry the text; reports show it.")],
    text: Annotated[str | None, typer.Option(help="The text that the model was taught.")] = None,
    text_file: Annotated[str | None, typer.Option(help="File with the text; - for stdin.")] = None,
    trigger: Annotated[
        list[str] | None, typer.Option(help="Trigger: an input that reveals the text. Repeat for several.")
    ] = None,
    triggers_file: Annotated[str | None, typer.Option(help="File with one trigger per line; - for stdin.")] = None,
    hashed: Annotated[
        bool,
        typer.Option("--hashed", help="Send a salted hash, not the text. Only an exact copy of the text matches it."),
    ] = False,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Register a fingerprint. Prints its id; the service never shows the text or the triggers again."""
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
    limit: Annotated[int, typer.Option(min=1, help="Number of fingerprints to print.")] = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the fingerprints, newest first."""
    with reporting(debug), Client(url) as client:
        FINGERPRINTS.print_first(limit, client.fingerprints.iter(), as_json=as_json)


@app.command()
def show(fingerprint_id: FingerprintId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Print one fingerprint, without its secrets."""
    with reporting(debug), Client(url) as client:
        FINGERPRINTS.print_one(client.fingerprints.get(fingerprint_id), as_json=as_json)


@app.command()
def remove(fingerprint_id: FingerprintId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Delete a fingerprint and its secrets. Reports that name it stay."""
    with reporting(debug), Client(url) as client:
        client.fingerprints.remove(fingerprint_id)
        print_removed(fingerprint_id, as_json=as_json)


def _hash(text: str) -> TextHash:
    try:
        checked_text(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return TextHash.of(text)


def _kept(item: Fingerprint) -> str:
    """The length of the text, never the text."""
    words = f"{item.text_words} word{'' if item.text_words == 1 else 's'}"
    return f"hash of {words}" if item.hashed else words


FINGERPRINTS: Listing[Fingerprint] = Listing(
    "fingerprints",
    narrow=("id", "registered", "text", "triggers"),
    wide=("owner", "licence"),
    cells=lambda item: (
        *(item.id, minute(item.created_at), _kept(item), str(item.triggers)),
        *(item.owner, item.licence),
    ),
)
