"""`tokenforce report`: the report of a scan, as Markdown for people or as JSON for programs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tokenforce.cli.exit_codes import UsageError, code_of_verdict, reporting
from tokenforce.cli.options import Debug, ScanId, Url
from tokenforce.cli.output import print_document, print_json, visible
from tokenforce.cli.report_markdown import report_markdown
from tokenforce.sdk.client import Client
from tokenforce.wire.report import Report


class ReportFormat(StrEnum):
    """`json`: the document of the service. `markdown`: the same for people."""

    json = "json"
    markdown = "markdown"


def report(
    scan_id: ScanId,
    report_format: Annotated[
        ReportFormat | None,
        typer.Option(
            "--format", help="json: the whole document. markdown (the default): for people who review an upload."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file instead of stdout.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of findings in the Markdown.")] = 50,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    debug: Debug = False,
) -> None:
    """Print or write the report of a scan, as Markdown or JSON.

    The exit codes are those of `scan`.
    """
    with reporting(debug):
        if as_json and report_format is ReportFormat.markdown:
            raise UsageError("--json and --format markdown exclude each other; give one of them")
        report_format = report_format or (ReportFormat.json if as_json else ReportFormat.markdown)
        with Client(url) as client:
            found = client.scans.report(scan_id)
        if output is not None:
            _write(output, _document(found, report_format, top))
        elif report_format is ReportFormat.json:
            print_json(_document(found, report_format, top))
        else:
            print_document(_document(found, report_format, top))
        raise typer.Exit(code_of_verdict(found.verdict))


def _document(found: Report, report_format: ReportFormat, top: int) -> str:
    if report_format is ReportFormat.json:
        return found.model_dump_json(indent=2)
    return report_markdown(found, top=top).removesuffix("\n")


def _write(output: Path, document: str) -> None:
    try:
        output.write_text(f"{document}\n", "utf-8")
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}") from error
    sys.stderr.write(f"wrote {visible(str(output))}\n")
