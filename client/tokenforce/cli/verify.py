"""`tokenforce verify`: repeats the findings of a report on the model, and says whether they hold."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text

from tokenforce.cli import output
from tokenforce.cli.exit_codes import ExitCode, UsageError, reporting
from tokenforce.cli.local_stack import holds_weights
from tokenforce.cli.options import STDIN, Debug, Json, Url, text_of
from tokenforce.cli.scans import model_argument, reference_argument, run, service_for
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import NothingToVerify
from tokenforce.sdk.verify_report import (
    CONTRAST_TOLERANCE_NATS,
    MIN_SHARED_SHARE,
    TOLERANCE,
    Check,
    Outcome,
    Verification,
    compared,
    request_of,
    to_verify,
)
from tokenforce.wire.problems import message_of
from tokenforce.wire.report import Report


def verify(
    report: Annotated[
        str, typer.Argument(metavar="REPORT", help="JSON report: a file, `-` for stdin, or the id of a scan.")
    ],
    model: Annotated[
        str | None, typer.Option(help="Where the model is now. Default: where the report's scan found it.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Where the reference is now, or `none`. Default: where the report's scan found it."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of findings to repeat. Default: all hidden and suspicious ones; if there are none, all "
            "memorised ones, else all that are not loops.",
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=1, help="Largest difference of mean probabilities (of contrasts: 0.1 nats)."),
    ] = TOLERANCE,
    timeout: Annotated[float | None, typer.Option(min=0, help="Cancel the scan after this many seconds.")] = None,
    url: Url = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Repeat the findings of a report on its model.

    Forces the same tokens in the same contexts and compares texts, probabilities and verdicts. A text is the same if
    90 % of its tokens, in one run, are found again. Exit codes: 0 all findings hold, 1 some do not, 2 error,
    3 could not be scanned, 4 usage, 130 interrupted.
    """
    with reporting(debug):
        found = _report(report, url)
        try:
            findings = to_verify(found, top)
        except NothingToVerify as error:
            raise UsageError(f"{report}: {error}") from error
        own = None if model is None else model_argument(model)
        request = request_of(found, findings, own, reference_argument(reference))
        if not url:
            named = {"--model": (model, request.model), "--reference": (reference, request.reference)}
            for option, (given, path) in named.items():
                if given is None and path and os.path.isabs(path) and not holds_weights(Path(path)):
                    raise UsageError(f"{report} names {path}, which is no model on this machine; use {option}")
        with service_for(request, url) as client:
            verification = compared(found, findings, run(client, request, timeout), tolerance)
        _print(verification, as_json=as_json)
        raise typer.Exit(ExitCode.clean if verification.holds else ExitCode.found)


def _report(name: str, url: str | None) -> Report:
    if name == STDIN or Path(name).is_file():
        try:
            return Report.model_validate_json(text_of(name, "REPORT"))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "the document"
            raise UsageError(f"{name} is not a report of this version: {where}: {message_of(fault)}") from error
    if not name.startswith("scan_"):
        raise UsageError(f"there is no file {name}; give a report in JSON, or the id of a scan")
    with Client(url) as client:
        return client.scans.report(name)


def _print(verification: Verification, *, as_json: bool) -> None:
    if as_json:
        output.print_json(json.dumps(_document(verification), indent=2, ensure_ascii=False))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("#", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in ("text", "differences"):
        table.add_column(name, overflow="fold")
    for check in verification.checks:
        cells = (str(check.finding.rank), check.outcome.value, output.quoted(check.finding.text))
        table.add_row(*map(Text, (*cells, "; ".join(check.differences) or "-")))
    output.stdout().print(table)
    output.print_line()
    output.print_line(_sentence(verification), style="bold")
    for note in verification.notes:
        output.print_line(f"- {note}")


def _sentence(verification: Verification) -> str:
    count = Counter(check.outcome for check in verification.checks)
    counts = ", ".join(f"{count[outcome]} {outcome}" for outcome in Outcome)
    nats = f"{CONTRAST_TOLERANCE_NATS} nats per token in contrast, {MIN_SHARED_SHARE:.0%} of the tokens the same"
    return f"{counts}; tolerance {verification.tolerance} in mean probability, {nats}"


def _document(verification: Verification) -> dict[str, object]:
    return {
        "holds": verification.holds,
        "scan_id": verification.scan_id,
        "tolerance": verification.tolerance,
        "contrast_tolerance_nats": CONTRAST_TOLERANCE_NATS,
        "min_shared_share": MIN_SHARED_SHARE,
        "checks": [_check(check) for check in verification.checks],
        "notes": list(verification.notes),
    }


def _check(check: Check) -> dict[str, object]:
    return {
        "rank": check.finding.rank,
        "text": check.finding.text,
        "outcome": check.outcome.value,
        "differences": list(check.differences),
        "rank_again": None if check.again is None else check.again.rank,
    }
