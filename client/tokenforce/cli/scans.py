"""`tokenforce scan`, `show`, `list` and `cancel`."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tokenforce.cli import output
from tokenforce.cli.exit_codes import ExitCode, UsageError, code_of_scan, code_of_verdict, complain, reporting
from tokenforce.cli.local_stack import roots_of
from tokenforce.cli.options import Debug, Json, ScanId, Url
from tokenforce.cli.progress import progress_display
from tokenforce.cli.tables import Listing, minute
from tokenforce.cli.up import service
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import ApiError, Refused, ScanCancelled, ScanFailed, TokenforceError, WaitTimeout
from tokenforce.sdk.scans import scan_request
from tokenforce.wire.findings import Finding
from tokenforce.wire.problems import ErrorCode, message_of
from tokenforce.wire.report import Report
from tokenforce.wire.scans import CustomContext, Depth, Order, Preset, Priority, Scan, ScanRequest, ScanStatus

SECONDS_BETWEEN_LOOKS = 0.5
CONTEXT_NAME = "give it a name before the `=`: at most 32 of a-z, 0-9, _, . and -, the first of them a letter or digit"

SCANS: Listing[Scan] = Listing(
    "scans",
    narrow=("id", "status", "verdict", "created"),
    wide=("model",),
    cells=lambda scan: (scan.id, scan.status, scan.verdict or "", minute(scan.created_at), scan.model),
)

Top = Annotated[int, typer.Option(min=1, help="Number of findings to print.")]
Ranking = Annotated[
    Order | None,
    typer.Option(help="Ranking to print. Default: contrast if there is a reference, otherwise probability."),
]


def scan(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The target: a model folder, or a hub id org/name[@revision].")
    ],
    url: Url = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The reference, that is the base model to compare with: a folder, a hub id, `auto` (the base that "
            "the model's own files name) or `none`. Default: the base of a LoRA adapter, otherwise none."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="`standard` or `paper`.")] = Preset.standard.value,
    depth: Annotated[
        Depth | None,
        typer.Option(
            help="How much a scan with a reference looks at: `quick` only the words that the weights were taught, "
            "`standard` (the default) also the vocabulary in two contexts, `thorough` in all contexts and by a sweep."
        ),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            help="Forcing context: bos, assistant, assistant_system, or name=text for your own. Repeat for several."
        ),
    ] = None,
    alpha: Annotated[int | None, typer.Option(help="Sweep length α, in tokens.")] = None,
    beta: Annotated[int | None, typer.Option(help="Confirm length β, in tokens.")] = None,
    floor: Annotated[
        float | None, typer.Option(help="Drop texts whose mean token probability is not above this.")
    ] = None,
    keep: Annotated[int | None, typer.Option(help="Candidates to keep per context.")] = None,
    priority: Annotated[
        Priority, typer.Option(help="Place in the queue. `high` needs a key with the scope admin.")
    ] = Priority.normal,
    force: Annotated[
        bool, typer.Option("--force", help="Scan again even if the service has the report of an equal scan.")
    ] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Cancel the scan after this many seconds.")] = None,
    top: Top = 10,
    order: Ranking = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Scan a model for hidden texts.

    Uses the service at --url. Without --url it starts a local stack for this scan. Exit codes: 0 clean, 1 hidden or
    suspicious texts, 2 error, 3 not scanned (also inconclusive, cancelled or not finished yet), 4 usage, 5 memorised
    (many texts known by heart, as training data is), 130 interrupted.
    """
    with reporting(debug):
        request = scan_request(
            model=model_argument(model),
            reference=reference_argument(reference),
            preset=preset,
            depth=depth,
            contexts=[context_argument(item) for item in context] if context else None,
            alpha=alpha,
            beta=beta,
            floor=floor,
            keep=keep,
            priority=priority,
            force=force,
        )
        raise typer.Exit(_scan(request, url=url, timeout=timeout, top=top, order=order, as_json=as_json))


def _scan(
    request: ScanRequest, *, url: str | None, timeout: float | None, top: int, order: Order | None, as_json: bool
) -> ExitCode:
    with service_for(request, url) as client:
        report = run(client, request, timeout)
        if reused := output.reuse_line(report):
            sys.stderr.write(f"{output.visible(reused)}; use --force to scan again\n")
        if as_json:
            output.print_json(report.model_dump_json(indent=2))
        else:
            output.print_report(report, _first_findings(client, report.scan.id, order, top))
    return code_of_verdict(report.verdict)


def service_for(request: ScanRequest, url: str | None) -> AbstractContextManager[Client]:
    """A client of the service at `url`; without `url`, of a local stack for this scan. Raises `Refused`."""
    folder = request.model if os.path.isabs(request.model) else None
    if folder and not url and not Path(folder).is_dir():
        raise Refused(f"{folder} is not a folder", status=422, code=ErrorCode.model_not_found)
    return service(url, [] if url else roots_of(request))


def run(client: Client, request: ScanRequest, timeout: float | None) -> Report:
    """The report of a new scan, with its progress on stderr. Ctrl-C and the time limit cancel the scan."""
    scan_id = client.scans.create(**dict(request)).id
    try:
        with progress_display() as display:
            client.scans.wait(scan_id, timeout=timeout, poll=SECONDS_BETWEEN_LOOKS, on_progress=display.show)
        return client.scans.report(scan_id)
    except (KeyboardInterrupt, WaitTimeout) as error:
        _cancel_quietly(client, scan_id)
        if isinstance(error, KeyboardInterrupt):
            sys.stderr.write("cancelled\n")
        raise


def show(
    scan_id: ScanId,
    url: Url = None,
    top: Top = 10,
    order: Ranking = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the report of a scan, or its findings so far.

    The exit codes are those of `scan`.
    """
    with reporting(debug), Client(url) as client:
        scan = client.scans.get(scan_id)
        if as_json:
            if scan.status is ScanStatus.failed:
                raise ScanFailed(scan)
            if scan.status is ScanStatus.cancelled:
                raise ScanCancelled(scan)
            output.print_json(client.scans.report(scan_id).model_dump_json(indent=2))
        elif scan.status is ScanStatus.succeeded:
            output.print_report(client.scans.report(scan_id), _first_findings(client, scan_id, order, top))
        else:
            _print_state(scan)
            output.print_findings(_first_findings(client, scan_id, order, top), partial=not scan.status.final)
        raise typer.Exit(code_of_scan(scan))


def list_scans(
    url: Url = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of scans to print.")] = 20,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the scans of a service, newest first."""
    with reporting(debug), Client(url) as client:
        SCANS.print_first(limit, client.scans.iter(), as_json=as_json)


def cancel(scan_id: ScanId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Cancel a scan."""
    with reporting(debug), Client(url) as client:
        cancelled = client.scans.cancel(scan_id)
        if as_json:
            output.print_json(cancelled.model_dump_json(indent=2))
        else:
            _print_state(cancelled)


def model_argument(model: str) -> str:
    """An absolute path if this is a folder or looks like a path, else a hub id."""
    if model.startswith((".", "/", "~")) or os.path.isdir(model):
        return os.path.abspath(os.path.expanduser(model))
    return model


def reference_argument(reference: str | None) -> str | None:
    """As `model_argument`. `auto` and `none` are never folders."""
    return reference if reference in (None, "auto", "none") else model_argument(str(reference))


def context_argument(context: str) -> str | CustomContext:
    """`name`, or `name=text` for the user's own context. The service checks the name of a built-in one."""
    name, equals, text = context.partition("=")
    if not equals:
        return context
    try:
        return CustomContext(name=name, text=text)
    except ValidationError as error:
        fault = error.errors()[0]
        wrong = CONTEXT_NAME if fault["loc"] == ("name",) else message_of(fault)
        raise UsageError(f"--context {context}: {wrong}") from error


def _print_state(scan: Scan) -> None:
    """The state of a scan without a report."""
    progress = scan.progress
    done = f"{progress.done}/{progress.total}" if progress.total is not None else str(progress.done)
    line = f"scan {scan.id} of {scan.model}: {scan.status}"
    if not scan.status.final:
        line += f", {progress.stage} {done}"
    if scan.error is not None:
        line += f", {scan.error.code}: {scan.error.detail}"
    output.print_line(line)


def _first_findings(client: Client, scan_id: str, order: Order | None, top: int) -> list[Finding]:
    return list(islice(client.scans.findings(scan_id, order=order), top))


def _cancel_quietly(client: Client, scan_id: str) -> None:
    """Cancels the scan of a command that ends early. Says nothing if the scan has just ended by itself."""
    try:
        client.scans.cancel(scan_id)
    except TokenforceError as error:
        if not isinstance(error, ApiError) or error.code != ErrorCode.scan_finished:
            complain(f"scan {scan_id} may still run: {error}")
