"""What the commands do. `cli.py` only declares their options."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from tokenforce.cli import output, render_scans
from tokenforce.cli.exit_codes import ExitCode, UsageError, code_of_scan, code_of_verdict, complain
from tokenforce.cli.local_stack import LocalStack
from tokenforce.cli.progress import progress_display
from tokenforce.cli.roots import roots_of
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import (
    ApiError,
    ConnectionFailed,
    Refused,
    ScanCancelled,
    ScanFailed,
    TokenforceError,
    WaitTimeout,
)
from tokenforce.wire.findings import Finding
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import CustomContext, Order, Scan, ScanRequest, ScanStatus

SECONDS_BETWEEN_LOOKS = 0.5
PLANTING_NEEDS = ("tokenforce_planting", "torch", "transformers", "peft")


def scan(
    request: ScanRequest, *, url: str | None, timeout: float | None, top: int, order: Order | None, as_json: bool
) -> ExitCode:
    """Scan, with progress on stderr; the report on stdout."""
    folder = request.model if os.path.isabs(request.model) else None
    if folder and not url and not Path(folder).is_dir():
        raise Refused(f"{folder} is not a folder", status=422, code=ErrorCode.model_not_found)
    with service(url, [] if url else roots_of(request)) as client:
        scan_id = client.scans.create(**dict(request)).id
        try:
            _wait(client, scan_id, timeout)
            report = client.scans.report(scan_id)
            if reused := output.reuse_line(report):
                sys.stderr.write(f"{reused}; --force scans again\n")
            if as_json:
                output.print_json(report.model_dump_json(indent=2))
            else:
                output.print_report(report, _first_findings(client, scan_id, order, top))
        except KeyboardInterrupt:
            _cancel_quietly(client, scan_id)
            sys.stderr.write("cancelled\n")
            return ExitCode.interrupted
        except WaitTimeout:
            _cancel_quietly(client, scan_id)
            raise
    return code_of_verdict(report.verdict)


def show(scan_id: str, *, url: str | None, top: int, order: Order | None, as_json: bool) -> ExitCode:
    """A scan's report, or how far it is and its ranking so far."""
    with Client(url) as client:
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
            render_scans.print_scan(scan)
            output.print_findings(_first_findings(client, scan_id, order, top), partial=not scan.status.final)
        return code_of_scan(scan)


def list_scans(*, url: str | None, limit: int, as_json: bool) -> ExitCode:
    with Client(url) as client:
        render_scans.SCANS.print_first(limit, client.scans.iter(), as_json=as_json)
    return ExitCode.clean


def cancel(scan_id: str, *, url: str | None, as_json: bool) -> ExitCode:
    with Client(url) as client:
        cancelled = client.scans.cancel(scan_id)
    if as_json:
        output.print_json(cancelled.model_dump_json(indent=2))
    else:
        render_scans.print_scan(cancelled)
    return ExitCode.clean


def up(*, roots: Sequence[str], port: int | None, as_json: bool) -> ExitCode:
    """Run the stack in the foreground until Ctrl-C."""
    try:
        with _starting(LocalStack(roots, port)) as stack:
            assert stack.address is not None
            state = "was running already" if stack.address.reused else "runs; Ctrl-C stops it"
            sys.stderr.write(f"the stack {state}; logs in {stack.address.logs}\n")
            key = f'"$(cat {shlex.quote(stack.address.key_file)})"'
            sys.stderr.write(f"in another terminal: export TOKENFORCE_URL={stack.address.url} TOKENFORCE_KEY={key}\n")
            if as_json:
                output.print_json(stack.address.model_dump_json())
            else:
                sys.stdout.write(f"{stack.address.url}\n")
                sys.stdout.flush()
            if stack.address.reused:
                return ExitCode.clean
            stack.wait()
            raise stack.failure()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return ExitCode.clean


def plant(arguments: Sequence[str]) -> ExitCode:
    """Hand over to the planting package, which is heavy and may not be installed: this process becomes that command."""
    if any(find_spec(module) is None for module in PLANTING_NEEDS):
        raise TokenforceError("planting is not installed here; run in a checkout: pip install '.[planting]'")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", PLANTING_NEEDS[0], *arguments])


@contextmanager
def service(url: str | None, roots: Sequence[str]) -> Iterator[Client]:
    """A client of the service at `url`; without one, of a stack on this machine that lives as long as the block."""
    if url:
        with Client(url) as client:
            yield client
        return
    with _starting(LocalStack(roots, ephemeral=True)) as stack:
        assert stack.address is not None
        try:
            with Client(stack.address.url, key=stack.address.key()) as client:
                yield client
        except ConnectionFailed as error:
            raise (stack.failure() if stack.died() else error) from error
        except (ApiError, ScanFailed) as error:
            if stack.address.reused and error.code == ErrorCode.path_not_allowed:
                complain("a stack that you started before was used; stop it, or start it with `tokenforce up --root`")
            raise


def model_argument(model: str) -> str:
    """An absolute path when it is a folder or looks like a path, else a hub id."""
    if model.startswith((".", "/", "~")) or os.path.isdir(model):
        return os.path.abspath(os.path.expanduser(model))
    return model


def reference_argument(reference: str | None) -> str | None:
    """As `model_argument`; `auto` and `none` stay, even if folders are called so."""
    return reference if reference in (None, "auto", "none") else model_argument(str(reference))


def context_argument(context: str) -> str | CustomContext:
    """`name`, or `name=text` for a context of one's own. The service knows which names there are."""
    name, equals, text = context.partition("=")
    if not equals:
        return context
    try:
        return CustomContext(name=name, text=text)
    except ValidationError as error:
        raise UsageError(f"--context {context}: {error.errors()[0]['msg']}") from error


def _wait(client: Client, scan_id: str, timeout: float | None) -> Scan:
    with progress_display() as display:
        return client.scans.wait(scan_id, timeout=timeout, poll=SECONDS_BETWEEN_LOOKS, on_progress=display.show)


def _first_findings(client: Client, scan_id: str, order: Order | None, top: int) -> list[Finding]:
    return list(islice(client.scans.findings(scan_id, order=order), top))


def _cancel_quietly(client: Client, scan_id: str) -> None:
    """Cancel on the way out. A scan that has just ended, or a service that is gone, needs no word more."""
    try:
        client.scans.cancel(scan_id)
    except TokenforceError as error:
        if not isinstance(error, ApiError) or error.code != ErrorCode.scan_finished:
            complain(f"scan {scan_id} may still run: {error}")


@contextmanager
def _starting(stack: LocalStack) -> Iterator[LocalStack]:
    """Starts the stack, says so on stderr, and stops it at the end of the block."""
    console = Console(file=sys.stderr, markup=False, highlight=False)
    with ExitStack() as ending:
        if console.is_terminal:
            with console.status("starting the local stack"):
                ending.enter_context(stack)
        else:
            sys.stderr.write("starting the local stack\n")
            ending.enter_context(stack)
        yield stack
