"""The scan, started as a user would: the command `tokenforce scan` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

from tokenforce.wire.report import Report

_SECONDS_TO_STOP = 20.0
_REPORT_CODES = (0, 1, 3, 5)
"""Exit codes of the command that come with a report: 0 clean, 1 findings, 3 inconclusive, 5 memorised."""


class ScanWithoutReport(RuntimeError):
    """The scan ended without a report."""


def run_scan(model: Path) -> Report:
    """Scan `model` in the context `assistant`. The command starts and stops a local stack.

    Its progress goes to stderr. Raises `ScanWithoutReport`; an interrupt stops the command first.
    """
    command = [sys.executable, "-m", "tokenforce", "scan", str(model), "--context", "assistant", "--force", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "TOKENFORCE_URL"}
    # A session of its own: Ctrl-C reaches it once, from here, and not a second time while it cleans up.
    scan = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)
    try:
        output, _ = scan.communicate()
    finally:
        _stop(scan)
    report = _parse(output) if output.strip() else None
    if report is None or scan.returncode not in _REPORT_CODES:
        raise ScanWithoutReport(f"`tokenforce scan` ended without a report, with exit code {scan.returncode}")
    return report


def _parse(output: bytes) -> Report:
    try:
        return Report.model_validate_json(output)
    except ValidationError as error:
        raise ScanWithoutReport(f"`tokenforce scan --json` printed no report: {error.error_count()} errors") from error


def _stop(scan: subprocess.Popen[bytes]) -> None:
    """End the command if it still runs. SIGTERM comes first, because it has a stack of processes to stop."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if scan.poll() is not None:
            return
        scan.send_signal(number)
        try:
            scan.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue
