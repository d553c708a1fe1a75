"""Results for human eyes, on stdout.

Everything shown may come out of a hostile model: control characters, terminal escape sequences, right-to-left
overrides and rich markup are shown as what they are, never obeyed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokenforce.wire.findings import Finding, LicenceMatch
from tokenforce.wire.report import Report

LONGEST_TEXT = 400
LONGEST_TOKEN = 24
WIDTH_WITHOUT_TERMINAL = 160


def visible(text: str) -> str:
    """The text with every character that does not print written as its Python escape, and backslashes doubled."""
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode() for char in text
    )


def quoted(text: str, longest: int = LONGEST_TEXT) -> str:
    """The visible text in quotes, so that its spaces can be seen; cut when it is very long."""
    rest = len(text) - longest
    return f'"{visible(text[:longest])}"' + (f" +{rest} more" if rest > 0 else "")


def findings_table(findings: Iterable[Finding]) -> Table:
    """One row a finding. `mean p` is the mean token probability, `repeats` the share of the text x its period.

    With a reference: `contrast` in nats per token, and each finding's own verdict.
    """
    findings = list(findings)
    contrasted = any(finding.contrast is not None for finding in findings)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("mean p", justify="right", no_wrap=True)
    if contrasted:
        table.add_column("contrast", justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
    table.add_column("repeats", justify="right", max_width=9)
    table.add_column("context", overflow="fold", max_width=11)
    table.add_column("forced", overflow="fold", max_width=12)
    table.add_column("text", overflow="fold", min_width=24, ratio=1)
    for finding in findings:
        table.add_row(
            Text(str(finding.rank)),
            Text(f"{finding.score:.4f}"),
            Text(f"{finding.mean_probability:.4f}"),
            *((Text(_contrast(finding)), Text(finding.verdict)) if contrasted else ()),
            Text(_repetition(finding)),
            Text(visible(finding.context)),
            Text(quoted(finding.forced_token.text, LONGEST_TOKEN)),
            Text(quoted(finding.text)),
        )
    return table


def print_findings(findings: Sequence[Finding], *, partial: bool = False) -> None:
    console = stdout()
    if findings:
        console.print(findings_table(findings))
    else:
        console.print("no findings" + (" yet" if partial else ""))


def print_report(report: Report, findings: Sequence[Finding]) -> None:
    """The ranking, then what was scanned, then the verdict and the evidence for it."""
    print_findings(findings)
    console = stdout()
    scan = report.scan
    contexts = ", ".join(context.name for context in scan.contexts)
    seconds = (scan.finished_at - scan.created_at).total_seconds()
    shown = f"{len(findings)} of {len(report.findings)} findings; " if len(findings) < len(report.findings) else ""
    console.print()
    console.print(
        visible(
            f"{shown}{scan.target.model}: {scan.forced} entries forced in {contexts}, "
            f"{scan.forward_tokens} forward tokens, {seconds:.0f} s, scan {scan.id}"
        )
    )
    if reused := reuse_line(report):
        console.print(reused)
    console.print(f"verdict: {report.verdict}", style="bold")
    for match in report.licences:
        console.print(visible(licence_line(match)), style="bold")
    for reason in report.reasons:
        console.print(visible(f"- {reason}"))


def reuse_line(report: Report) -> str | None:
    """Whose result this is and of when, if the scan found an equal one with a report."""
    scan = report.scan
    if scan.reused_from is None:
        return None
    found = f" of {scan.measured_at.astimezone():%Y-%m-%d %H:%M}" if scan.measured_at else ""
    return visible(f"report reused: this is the result of {scan.reused_from}{found}")


def licence_line(match: LicenceMatch) -> str:
    """One line: which licence, whose, and what shows it."""
    evidence = []
    if match.finding_rank is not None:
        far = f" (distance {match.distance:.2f})" if match.distance else ""
        others = ", ".join(str(rank) for rank in match.finding_ranks if rank != match.finding_rank)
        evidence.append(f"its text is finding {match.finding_rank}{far}{f', and in {others}' if others else ''}")
    if match.trigger_success is not None:
        worked = round(match.trigger_success * match.triggers_asked)
        evidence.append(f"{worked} of {match.triggers_asked} triggers give it")
    return f"licence: {match.licence}, of {match.owner} ({match.fingerprint}): {'; '.join(evidence)}"


def print_json(document: str) -> None:
    """One JSON document as UTF-8, byte for byte; on a terminal C1 controls (also escape sequences) are escaped."""
    if sys.stdout.isatty():
        document = "".join(f"\\u{ord(char):04x}" if "\x7f" <= char <= "\x9f" else char for char in document)
    print_document(document)


def print_document(document: str) -> None:
    """Text that is harmless already, as UTF-8 whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(document.encode() + b"\n")
    sys.stdout.buffer.flush()


def _contrast(finding: Finding) -> str:
    return "-" if finding.contrast is None else f"{finding.contrast:.2f}"


def _repetition(finding: Finding) -> str:
    found = finding.repetition
    if not found.period:
        return "-"
    loop = " loop" if finding.degenerate else ""
    return f"{found.share:.0%} × {found.period}{loop}"


def stdout() -> Console:
    """A console that obeys no markup; wide enough for a log file when nobody says how wide."""
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH_WITHOUT_TERMINAL)
    return console
