"""`tokenforce up`, and the local stack that `tokenforce scan` starts for one scan."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer
from rich.console import Console

from tokenforce.cli import output
from tokenforce.cli.exit_codes import ExitCode, UsageError, complain, reporting
from tokenforce.cli.local_stack import LocalStack
from tokenforce.cli.options import Debug, Json
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import ApiError, ConnectionFailed, ScanFailed
from tokenforce.wire.problems import ErrorCode


def up(
    root: Annotated[
        list[str] | None,
        typer.Option(help="Folder whose models the service may scan. Repeat for several."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the service. Default: a free port.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the whole stack on this machine until Ctrl-C.

    Prints the address of its service. --json also prints the key file and the log folder.
    """
    with reporting(debug):
        roots = [os.path.abspath(os.path.expanduser(folder)) for folder in root or []]
        for folder in roots:
            if not os.path.isdir(folder):
                raise UsageError(f"--root {folder} is not a folder")
        raise typer.Exit(_up(roots, port, as_json))


def _up(roots: Sequence[str], port: int | None, as_json: bool) -> ExitCode:
    try:
        with _starting(LocalStack(roots, port)) as stack:
            assert stack.address is not None
            state = "runs already" if stack.address.reused else "runs; press Ctrl-C to stop it"
            sys.stderr.write(f"the local stack {state}; logs in {stack.address.logs}\n")
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


@contextmanager
def service(url: str | None, roots: Sequence[str]) -> Iterator[Client]:
    """A client of the service at `url`. Without `url`: of a local stack that runs as long as this block."""
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
                complain(
                    "your local stack runs already and may not read this folder; "
                    "stop it, or start it with `tokenforce up --root`"
                )
            raise


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
