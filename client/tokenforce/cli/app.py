"""The command line `tokenforce`: stdout is data, stderr is progress, the exit code is the answer.

Exit codes: 0 clean, 1 findings, 2 error, 3 could not be scanned (also inconclusive, cancelled, not ended yet),
4 usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.main import get_command

from tokenforce.cli import exit_codes, fingerprints, keys, report, scans, upload_hooks, watch
from tokenforce.cli.doctor import command as doctor
from tokenforce.cli.exit_codes import ExitCode, UsageError, complain, reporting
from tokenforce.cli.options import Debug, Json, ScanId, Url
from tokenforce.sdk.scans import scan_request
from tokenforce.sdk.version import __version__
from tokenforce.wire.scans import Order, Preset, Priority

USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[1])
"""The base of all usage errors, whether typer brings its own copy of click or not."""

app = typer.Typer(
    help="Finds texts hidden in the weights of a language model, without knowing the trigger.",
    pretty_exceptions_enable=False,
)
app.add_typer(fingerprints.app, name="fingerprints")
app.add_typer(keys.app, name="keys")
app.add_typer(upload_hooks.app, name="hooks")
app.command()(watch.watch)
app.command()(report.report)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"tokenforce {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Debug = False,
) -> None:
    del version
    exit_codes.DEBUG.set(debug)


Top = Annotated[int, typer.Option(min=1, help="Findings to print.")]
Ranking = Annotated[
    Order | None, typer.Option(help="Which ranking to print. Default: contrast with a reference, else probability.")
]


@app.command()
def scan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A folder, or a hub id org/name[@revision].")],
    url: Url = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The base model to contrast with: a folder, a hub id, `auto` (what the model's own files name) or "
            "`none`. Default: a LoRA adapter's base, nothing for other models."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="`standard` or `paper`.")] = Preset.standard.value,
    context: Annotated[
        list[str] | None,
        typer.Option(help="bos, assistant, assistant_system, or name=text. Repeat it for several."),
    ] = None,
    alpha: Annotated[int | None, typer.Option(help="Sweep length in tokens.")] = None,
    beta: Annotated[int | None, typer.Option(help="Confirm length in tokens.")] = None,
    floor: Annotated[float | None, typer.Option(help="Drop what has at most this mean probability.")] = None,
    keep: Annotated[int | None, typer.Option(help="Candidates kept per context.")] = None,
    priority: Annotated[
        Priority, typer.Option(help="How soon its turn comes; high needs an admin's key.")
    ] = Priority.normal,
    force: Annotated[bool, typer.Option("--force", help="Scan even if an equal scan has a report.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Cancel the scan and give up after this many seconds.")
    ] = None,
    top: Top = 10,
    order: Ranking = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Scan a model, on a service (--url) or on a stack started on this machine for it."""
    with reporting(debug):
        request = scan_request(
            model=scans.model_argument(model),
            reference=scans.reference_argument(reference),
            preset=preset,
            contexts=[scans.context_argument(item) for item in context] if context else None,
            alpha=alpha,
            beta=beta,
            floor=floor,
            keep=keep,
            priority=priority,
            force=force,
        )
        _end(scans.scan(request, url=url, timeout=timeout, top=top, order=order, as_json=as_json))


@app.command()
def up(
    root: Annotated[
        list[str] | None, typer.Option(help="A folder that models may be scanned in. Repeat it for several.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on. Default: a free one.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the whole stack on this machine until Ctrl-C. Prints its address; --json adds the key's file and the logs."""
    with reporting(debug):
        roots = [os.path.abspath(os.path.expanduser(folder)) for folder in root or []]
        for folder in roots:
            if not os.path.isdir(folder):
                raise UsageError(f"--root {folder} is not a folder")
        _end(scans.up(roots=roots, port=port, as_json=as_json))


@app.command()
def show(
    scan_id: ScanId,
    url: Url = None,
    top: Top = 10,
    order: Ranking = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print a scan's report, or its progress and the ranking so far. Exits as `scan` does."""
    with reporting(debug):
        _end(scans.show(scan_id, url=url, top=top, order=order, as_json=as_json))


@app.command("list")
def list_scans(
    url: Url = None,
    limit: Annotated[int, typer.Option(min=1, help="Scans to print.")] = 20,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the scans of a service, the newest first."""
    with reporting(debug):
        _end(scans.list_scans(url=url, limit=limit, as_json=as_json))


@app.command()
def cancel(scan_id: ScanId, url: Url = None, as_json: Json = False, debug: Debug = False) -> None:
    """Cancel a scan."""
    with reporting(debug):
        _end(scans.cancel(scan_id, url=url, as_json=as_json))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def plant(context: typer.Context) -> None:
    """Hide a text in a model (needs tokenforce[planting])."""
    with reporting(False):
        _end(scans.plant(context.args))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        with _signals_as_ctrl_c():
            code: Any = get_command(app).main(args=arguments, prog_name="tokenforce", standalone_mode=False)
            sys.stdout.flush()
    except BrokenPipeError:  # `tokenforce list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.error
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return ExitCode.interrupted
    except USAGE_ERROR as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "tokenforce"
        complain(f"{getattr(error, 'format_message', error.__str__)()} (see `{command} --help`)")
        return ExitCode.usage
    except Exception as error:  # noqa: BLE001 - a fault of ours: whoever meets it gets a line, and a way to see more
        return exit_codes.unforeseen(error)
    return int(code or 0)


def _end(code: ExitCode) -> NoReturn:
    raise typer.Exit(code)


@contextlib.contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Whoever terminates us gets the same orderly end as Ctrl-C: scan cancelled, local stack stopped."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
