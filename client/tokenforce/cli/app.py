"""The command line `tokenforce`: data on stdout, progress on stderr, the answer in the exit code.

Exit codes: 0 clean, 1 findings, 2 error, 3 not scanned (also inconclusive, cancelled, not finished yet), 4 usage,
5 memorised, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Annotated, Any, cast

import typer
from typer.main import get_command

from tokenforce.cli import exit_codes, fingerprints, keys, plant, report, scans, up, upload_hooks, verify, watch
from tokenforce.cli.doctor import command as doctor
from tokenforce.cli.exit_codes import ExitCode, complain
from tokenforce.cli.options import GROUP, Debug
from tokenforce.sdk.version import __version__

USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[1])
"""The base of all usage errors, whether typer has its own copy of click or not."""
INTERRUPTS = ("SIGTERM", "SIGHUP")
"""Signals with the same effect as Ctrl-C. Windows has no SIGHUP."""

app = typer.Typer(
    help="Finds texts hidden in the weights of a language model, without knowing the trigger.",
    context_settings={"help_option_names": ["-h", "--help"]},
    **GROUP,
)
app.command()(scans.scan)
app.command()(scans.show)
app.command("list")(scans.list_scans)
app.command()(scans.cancel)
app.command()(watch.watch)
app.command()(report.report)
app.command()(verify.verify)
app.command()(up.up)
app.command()(doctor.doctor)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)(
    plant.plant
)
app.add_typer(fingerprints.app, name="fingerprints")
app.add_typer(upload_hooks.app, name="hooks")
app.add_typer(keys.app, name="keys")


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
        message = " ".join(getattr(error, "format_message", error.__str__)().split())  # some have line breaks
        complain(f"{message} (see `{command} --help`)")
        return ExitCode.usage
    except Exception as error:  # noqa: BLE001 - an internal error: the user gets one line, and a way to see more
        return exit_codes.unforeseen(error)
    return int(code or 0)


@contextlib.contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """A signal that ends this process cancels the scan and stops the local stack first, as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in INTERRUPTS if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
