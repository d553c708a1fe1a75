"""`tokenforce keys`: make, list and revoke API keys. The key that it is called with needs the scope `admin`.

That key comes from the environment only: an argument ends up in the shell's history and in the list of processes.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from tokenforce.cli import output, render_keys
from tokenforce.cli.exit_codes import reporting
from tokenforce.cli.options import Debug, Json, Url
from tokenforce.sdk.client import Client
from tokenforce.wire.keys import KeyLimits, Scope

app = typer.Typer(
    help="API keys of a service. Needs one with the scope admin, in TOKENFORCE_KEY.", pretty_exceptions_enable=False
)

Limit = Annotated[int | None, typer.Option(min=1, max=10**9, help="Of this key. Default: as the service's settings.")]


@app.command()
def create(
    owner: Annotated[str, typer.Option(help="To whom all belongs that the key makes.")],
    scope: Annotated[list[Scope], typer.Option(help="What the key allows. Repeat it for several.")],
    name: Annotated[str, typer.Option(help="To tell keys apart in lists.")] = "",
    expires_days: Annotated[
        float | None, typer.Option(min=0.001, max=3650, help="Days after which it ends. Default: never.")
    ] = None,
    reads_per_minute: Limit = None,
    writes_per_minute: Limit = None,
    active_scans: Limit = None,
    scans_per_day: Limit = None,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a key and print its token, on stdout and for this once."""
    with reporting(debug):
        expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
        limits = KeyLimits(
            reads_per_minute=reads_per_minute,
            writes_per_minute=writes_per_minute,
            active_scans=active_scans,
            scans_per_day=scans_per_day,
        )
        with Client(url) as client:
            made = client.keys.create(owner=owner, scopes=scope, name=name, expires_at=expires_at, limits=limits)
        if as_json:
            output.print_json(made.model_dump_json(indent=2))
            return
        sys.stdout.write(f"{made.token}\n")
        sys.stderr.write(f"key {made.id}, {render_keys.state(made)}; keep the token now: it is not shown again\n")


@app.command("list")
def list_keys(
    url: Url = None,
    limit: Annotated[int, typer.Option(min=1, help="Keys to print.")] = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the keys, revoked ones too, the newest first."""
    with reporting(debug), Client(url) as client:
        render_keys.KEYS.print_first(limit, client.keys.iter(), as_json=as_json)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a key: the middle part of its token.")],
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """End a key for good. What it made stays."""
    with reporting(debug), Client(url) as client:
        render_keys.KEYS.print_one(client.keys.revoke(key_id), as_json=as_json)
