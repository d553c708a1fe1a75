"""`tokenforce hooks`: who may tell the service of uploads. The key needs the scope `hooks`.

A hook's secret is given by file, stdin or environment: an argument ends up in the shell's history and in the list of
processes.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tokenforce.cli import output, scans
from tokenforce.cli.exit_codes import UsageError, reporting
from tokenforce.cli.options import Debug, Json, Url, text_of
from tokenforce.cli.render_hooks import HOOKS, print_answer
from tokenforce.cli.tables import print_removed
from tokenforce.sdk.calls import checked
from tokenforce.sdk.client import Client
from tokenforce.wire.audits import Ground
from tokenforce.wire.scans import Preset, Priority
from tokenforce.wire.upload_hooks import HookKind, HookPolicy

SECRET_VARIABLE = "TOKENFORCE_HOOK_SECRET"

app = typer.Typer(help="Upload hooks: who may tell the service of uploads.", pretty_exceptions_enable=False)

HookId = Annotated[str, typer.Argument(metavar="ID", help="The id of a hook.")]


@app.command()
def create(
    kind: Annotated[HookKind, typer.Argument(help="`huggingface`: the Hub's webhooks; `upload`: any sender's.")],
    repo: Annotated[list[str], typer.Option(help="Pattern of models to scan, such as 'org/*'. Repeat it for several.")],
    reference: Annotated[str | None, typer.Option(help="As in `scan`: `auto`, `none`, or a model.")] = None,
    preset: Annotated[Preset, typer.Option(help="`standard` or `paper`.")] = Preset.standard,
    context: Annotated[list[str] | None, typer.Option(help="As in `scan`. Repeat it for several.")] = None,
    low: Annotated[bool, typer.Option("--low", help="Scan when nothing of a better priority waits.")] = False,
    accept: Annotated[
        list[str] | None, typer.Option(help="A licence that uploads may carry, or `any`. Repeat it for several.")
    ] = None,
    fingerprint_owner: Annotated[
        list[str] | None, typer.Option(help="Whose fingerprints count; default: everybody's. Repeat it for several.")
    ] = None,
    block_on: Annotated[list[Ground] | None, typer.Option(help="Default: hidden_text. Repeat it for several.")] = None,
    review_on: Annotated[
        list[Ground] | None, typer.Option(help="Default: suspicious and licence, where they do not block.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Register a hook and print its secret, on stdout and for this once."""
    with reporting(debug):
        blocking = block_on if block_on is not None else [Ground.hidden_text]
        reviewing = [ground for ground in (Ground.suspicious, Ground.licence) if ground not in blocking]
        policy = checked(
            HookPolicy,
            {
                "repos": repo,
                "reference": scans.reference_argument(reference),
                "preset": preset,
                "contexts": [scans.context_argument(item) for item in context] if context else None,
                "priority": Priority.low if low else Priority.normal,
                "accepted_licences": accept or [],
                "fingerprint_owners": fingerprint_owner or None,
                "block_on": blocking,
                "review_on": review_on if review_on is not None else reviewing,
            },
        )
        with Client(url) as client:
            made = client.hooks.create(kind=kind, policy=policy)
            address = client.url + made.url
        if as_json:
            output.print_json(made.model_dump_json(indent=2))
            return
        sys.stdout.write(f"{made.secret}\n")
        sys.stderr.write(f"hook {made.id} at {address}; keep the secret now: it is not shown again\n")


@app.command("list")
def list_hooks(
    url: Url = None,
    limit: Annotated[int, typer.Option(min=1, help="Hooks to print.")] = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the hooks, the newest first."""
    with reporting(debug), Client(url) as client:
        HOOKS.print_first(limit, client.hooks.iter(), as_json=as_json)


@app.command()
def rotate(hook_id: HookId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Give a hook another secret and print it, on stdout and for this once; the one before counts for a day."""
    with reporting(debug):
        with Client(url) as client:
            made = client.hooks.rotate(hook_id)
        if as_json:
            output.print_json(made.model_dump_json(indent=2))
            return
        sys.stdout.write(f"{made.secret}\n")
        sys.stderr.write("keep the secret now: it is not shown again; the one before counts for a day\n")


@app.command("test")
def post_sample(
    hook_id: HookId,
    secret_file: Annotated[
        str | None, typer.Option(help=f"A file with the hook's secret; - is stdin. Default: ${SECRET_VARIABLE}.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model of the event; it is scanned if the policy says so. Default: a sample.")
    ] = None,
    commit: Annotated[str | None, typer.Option(help="Its commit, 40 hex digits. Default: a sample.")] = None,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Post a sample event, rightly signed, as the hook's sender would, and print the answer."""
    with reporting(debug):
        given = (
            text_of(secret_file, "--secret-file").strip()
            if secret_file is not None
            else os.environ.get(SECRET_VARIABLE, "")
        )
        if not given:
            raise UsageError(f"give the hook's secret with --secret-file, or in {SECRET_VARIABLE}")
        with Client(url) as client:
            answer = client.hooks.test(hook_id, given, model=model, commit=commit)
        if as_json:
            output.print_json(answer.model_dump_json(indent=2))
        else:
            print_answer(answer)


@app.command()
def remove(hook_id: HookId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Take no more events from a hook. The scans that it started stay."""
    with reporting(debug), Client(url) as client:
        client.hooks.remove(hook_id)
        print_removed(hook_id, as_json=as_json)
