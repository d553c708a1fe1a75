"""`tokenforce keys`: create, list and revoke API keys. Needs a key with the scope `admin`.

The command takes that key from the environment only. An argument is visible in the shell's history and in the list of
processes.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from tokenforce.cli import output
from tokenforce.cli.exit_codes import reporting
from tokenforce.cli.options import GROUP, Debug, Json, Url
from tokenforce.cli.tables import Listing, minute
from tokenforce.sdk.client import Client
from tokenforce.wire.keys import Key, KeyLimits, Scope

app = typer.Typer(help="API keys of a service. Needs a key with the scope admin in TOKENFORCE_KEY.", **GROUP)

MOST = 10**9
"""Largest limit of a key."""


@app.command()
def create(
    owner: Annotated[str, typer.Option(help="Owner of everything created with this key.")],
    scope: Annotated[list[Scope], typer.Option(help="What the key may do. Repeat for several.")],
    name: Annotated[str, typer.Option(help="Name of the key in lists.")] = "",
    expires_days: Annotated[
        float | None, typer.Option(min=0.001, max=3650, help="Days until the key ends (default: never).")
    ] = None,
    reads_per_minute: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Reads per minute for this key (default: the service's).")
    ] = None,
    writes_per_minute: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Changes per minute for this key (default: the service's).")
    ] = None,
    active_scans: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Unfinished scans of this key (default: the service's).")
    ] = None,
    scans_per_day: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="New scans per day for this key (default: the service's).")
    ] = None,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Create a key. Prints the token; it cannot be shown again."""
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
        sys.stderr.write(f"key {made.id}, {_state(made)}; save the token now: it cannot be shown again\n")


@app.command("list")
def list_keys(
    url: Url = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of keys to print.")] = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the keys, also revoked ones, newest first."""
    with reporting(debug), Client(url) as client:
        KEYS.print_first(limit, client.keys.iter(), as_json=as_json)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a key: the middle part of its token.")],
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """End a key permanently. Everything created with it stays."""
    with reporting(debug), Client(url) as client:
        KEYS.print_one(client.keys.revoke(key_id), as_json=as_json)


def _state(key: Key) -> str:
    """Whether the key works, and until when."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return "expired" if key.expires_at <= datetime.now(UTC) else f"until {key.expires_at:%Y-%m-%d}"


KEYS: Listing[Key] = Listing(
    "keys",
    narrow=("id", "created", "last used", "state"),
    wide=("owner", "scopes", "name"),
    cells=lambda key: (
        *(key.id, minute(key.created_at), minute(key.last_used_at), _state(key)),
        *(key.owner, ", ".join(key.scopes), key.name),
    ),
)
