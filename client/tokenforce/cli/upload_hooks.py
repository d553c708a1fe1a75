"""`tokenforce hooks`: upload hooks. Needs a key with the scope `hooks`.

Pass the secret of a hook in a file, on stdin or in the environment. An argument is visible in the shell's history and
in the list of processes.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tokenforce.cli import output
from tokenforce.cli.exit_codes import UsageError, reporting
from tokenforce.cli.options import GROUP, Debug, Json, Url, text_of
from tokenforce.cli.scans import context_argument, reference_argument
from tokenforce.cli.tables import Listing, minute, print_removed
from tokenforce.sdk.calls import checked
from tokenforce.sdk.client import Client
from tokenforce.wire.audits import AuditRules, Ground
from tokenforce.wire.scans import Depth, Preset, Priority
from tokenforce.wire.upload_hooks import Hook, HookAnswer, HookKind, HookPolicy, HookSecret

SECRET_VARIABLE = "TOKENFORCE_HOOK_SECRET"

app = typer.Typer(help="Upload hooks: scan what the Hub or a marketplace reports.", **GROUP)

HookId = Annotated[str, typer.Argument(metavar="ID", help="Id of an upload hook.")]


@app.command()
def create(
    kind: Annotated[
        HookKind,
        typer.Argument(
            metavar="KIND", help="`huggingface`: webhooks of the Hugging Face Hub. `upload`: any other sender."
        ),
    ],
    repo: Annotated[list[str], typer.Option(help="Models to scan, as a pattern such as 'org/*'. Repeat for several.")],
    reference: Annotated[str | None, typer.Option(help="As for `scan`: a model, `auto` or `none`.")] = None,
    preset: Annotated[Preset, typer.Option(help="`standard` or `paper`.")] = Preset.standard,
    depth: Annotated[Depth | None, typer.Option(help="As for `scan`. `quick` needs a reference.")] = None,
    context: Annotated[list[str] | None, typer.Option(help="As for `scan`. Repeat for several.")] = None,
    low: Annotated[
        bool, typer.Option("--low", help="Give these scans the priority `low`: other scans go first.")
    ] = False,
    accept: Annotated[
        list[str] | None, typer.Option(help="Licence that an upload may carry, or `any`. Repeat for several.")
    ] = None,
    fingerprint_owner: Annotated[
        list[str] | None,
        typer.Option(help="Use the fingerprints of this owner only (default: all). Repeat for several."),
    ] = None,
    block_on: Annotated[
        list[Ground] | None, typer.Option(help="Reason to block an upload (default: hidden_text). Repeat for several.")
    ] = None,
    review_on: Annotated[
        list[Ground] | None,
        typer.Option(
            help="Reason to ask a person for a review (default: suspicious, memorised and licence, if they do not "
            "block). Repeat for several."
        ),
    ] = None,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Register an upload hook. Prints its secret; it cannot be shown again."""
    with reporting(debug):
        blocking = block_on if block_on is not None else [Ground.hidden_text]
        reviewing = [ground for ground in AuditRules().review_on if ground not in blocking]
        policy = checked(
            HookPolicy,
            {
                "repos": repo,
                "reference": reference_argument(reference),
                "preset": preset,
                "depth": depth,
                "contexts": [context_argument(item) for item in context] if context else None,
                "priority": Priority.low if low else Priority.normal,
                "accepted_licences": accept or [],
                "fingerprint_owners": fingerprint_owner or None,
                "block_on": blocking,
                "review_on": review_on if review_on is not None else reviewing,
            },
        )
        with Client(url) as client:
            made = client.hooks.create(kind=kind, policy=policy)
            _print_secret(made, f"hook {made.id} at {client.url}{made.url}", as_json=as_json)


@app.command("list")
def list_hooks(
    url: Url = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of hooks to print.")] = 50,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the upload hooks, newest first."""
    with reporting(debug), Client(url) as client:
        HOOKS.print_first(limit, client.hooks.iter(), as_json=as_json)


@app.command()
def rotate(hook_id: HookId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Give an upload hook a new secret. Prints it; it cannot be shown again. The old one works for one more day."""
    with reporting(debug), Client(url) as client:
        _print_secret(client.hooks.rotate(hook_id), "the old secret works for one more day", as_json=as_json)


@app.command("test")
def post_sample(
    hook_id: HookId,
    secret_file: Annotated[
        str | None, typer.Option(help=f"File with the hook's secret; - for stdin (default: ${SECRET_VARIABLE}).")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model of the event (default: a sample). The service scans it if the policy matches it."),
    ] = None,
    commit: Annotated[str | None, typer.Option(help="Commit of the event, 40 hex digits (default: a sample).")] = None,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Send a signed test event to an upload hook and print the answer."""
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
            _print_answer(answer)


@app.command()
def remove(hook_id: HookId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Remove an upload hook. Scans that it has started stay."""
    with reporting(debug), Client(url) as client:
        client.hooks.remove(hook_id)
        print_removed(hook_id, as_json=as_json)


def _print_secret(made: HookSecret, note: str, *, as_json: bool) -> None:
    """The secret alone on stdout, everything else on stderr."""
    if as_json:
        output.print_json(made.model_dump_json(indent=2))
        return
    sys.stdout.write(f"{made.secret}\n")
    sys.stderr.write(f"{note}; save the secret now: it cannot be shown again\n")


def _print_answer(answer: HookAnswer) -> None:
    """What the hook did with the event, and the id of the scan on a second line."""
    for line in (f"{answer.action.value}: {answer.reason}", *([answer.scan_id] if answer.scan_id else [])):
        output.print_line(line)


HOOKS: Listing[Hook] = Listing(
    "hooks",
    narrow=("id", "created", "kind"),
    wide=("models", "blocks", "reviews"),
    cells=lambda hook: (
        *(hook.id, minute(hook.created_at), hook.kind),
        *(", ".join(part) for part in (hook.policy.repos, hook.policy.block_on, hook.policy.review_on)),
    ),
)
