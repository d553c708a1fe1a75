"""How a command ends: its exit code, and the one line on stderr that says why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum

import typer

from tokenforce.cli.output import visible
from tokenforce.sdk.errors import (
    REFUSALS,
    ApiError,
    ConnectionFailed,
    InvalidRequest,
    NotConfigured,
    ScanCancelled,
    ScanFailed,
    ServiceUnavailable,
    TokenforceError,
    WaitTimeout,
)
from tokenforce.wire.findings import Verdict
from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import Scan, ScanStatus


class ExitCode(IntEnum):
    """Exit codes of every command. Only 0 means that the model was scanned and nothing was found."""

    clean = 0
    found = 1
    error = 2
    not_scanned = 3
    usage = 4
    memorised = 5
    interrupted = 130


DEBUG = ContextVar("DEBUG", default=False)
"""Whether to print the traceback of an error: `--debug`, before the command or after it."""

WRONG_REQUESTS = frozenset({ErrorCode.invalid_request, ErrorCode.unknown_context, ErrorCode.unknown_preset})


class UsageError(TokenforceError):
    """The command line is wrong."""


def code_of_verdict(verdict: Verdict | None) -> ExitCode:
    """`inconclusive` and no verdict mean "not scanned", never "clean". `memorised` is neither clean nor an alarm."""
    if verdict is Verdict.clean:
        return ExitCode.clean
    if verdict is Verdict.memorised:
        return ExitCode.memorised
    return ExitCode.found if verdict in (Verdict.hidden_text, Verdict.suspicious) else ExitCode.not_scanned


def code_of_scan(scan: Scan) -> ExitCode:
    """The exit code for a scan as it is now."""
    if scan.status is ScanStatus.failed:
        return code_of_error(ScanFailed(scan))
    return code_of_verdict(scan.verdict)


def code_of_error(error: Exception) -> ExitCode:
    """The exit code for an error."""
    if isinstance(error, UsageError | NotConfigured | InvalidRequest):
        return ExitCode.usage
    if isinstance(error, ScanCancelled | WaitTimeout):
        return ExitCode.not_scanned
    if isinstance(error, ApiError | ScanFailed):
        if error.code in REFUSALS or error.code == ErrorCode.report_not_ready:
            return ExitCode.not_scanned
        if error.code in WRONG_REQUESTS:
            return ExitCode.usage
    return ExitCode.error


def explain(error: Exception) -> str:
    """One line: what is wrong, its stable code, and what to do."""
    line = str(error) or type(error).__name__
    if isinstance(error, ApiError | ScanFailed):
        line = f"{error.code}: {line}"
    if isinstance(error, ConnectionFailed):
        line += "; is the service running, and is --url (TOKENFORCE_URL) right?"
    if isinstance(error, ServiceUnavailable):
        line += "; try again " + (f"in {error.retry_after:g} s" if error.retry_after else "later")
    if isinstance(error, ApiError) and error.request_id and code_of_error(error) is ExitCode.error:
        line += f" (request {error.request_id})"
    return line


@contextmanager
def reporting(debug: bool) -> Iterator[None]:
    """Turns an error of a command into one line on stderr and an exit code; `debug` prints the traceback too."""
    DEBUG.set(debug or DEBUG.get())
    try:
        yield
    except (TokenforceError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        if DEBUG.get():
            sys.excepthook(type(error), error, error.__traceback__)
        complain(explain(error))
        raise typer.Exit(code_of_error(error)) from error


def unforeseen(error: Exception) -> ExitCode:
    """Reports an internal error of this program."""
    if DEBUG.get():
        sys.excepthook(type(error), error, error.__traceback__)
    complain(f"internal error: {type(error).__name__}: {error}; `tokenforce --debug …` shows where")
    return ExitCode.error


def complain(line: str) -> None:
    """One line on stderr. The line may quote text from a hostile model's files."""
    sys.stderr.write(f"tokenforce: {visible(line)}\n")
