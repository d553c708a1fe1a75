"""Results for people, on stdout.

Any text may come from a hostile model. Control characters, terminal escape sequences, right-to-left overrides and rich
markup are printed as visible text, never obeyed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokenforce.wire.findings import Finding, LicenceMatch
from tokenforce.wire.report import Report, TaughtWord, WeightRecord
from tokenforce.wire.scans import Depth

LONGEST_TEXT = 400
"""Characters of a found text."""
LONGEST_TOKEN = 24
"""Characters of a token."""
TAUGHT_WORDS = 24
"""Words that the summary of a report shows."""
BARS = "▁▂▃▄▅▆▇█"
WIDTH_WITHOUT_TERMINAL = 160
"""Columns of a log file or a pipe."""
NARROWEST_TABLE, NARROWEST_CONTRAST_TABLE = 84, 110
"""Columns; on a narrower terminal a table would leave no room for the texts."""


def visible(text: str) -> str:
    """The text with Python escapes for characters that do not print, and with doubled backslashes."""
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode() for char in text
    )


def quoted(text: str, longest: int = LONGEST_TEXT) -> str:
    """The visible text in quotes, which show the spaces at its ends; cut if it is very long."""
    rest = len(text) - longest
    return f'"{visible(text[:longest])}"' + (f" +{rest} more" if rest > 0 else "")


def findings_table(findings: Iterable[Finding]) -> Table:
    """One row per finding. `mean p`: mean token probability. `repeats`: share of the text × its period in tokens.

    With a reference also `contrast`, in nats per token, and the verdict of each finding.
    """
    findings = list(findings)
    contrasted = _contrasted(findings)
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


def findings_list(findings: Iterable[Finding]) -> Table:
    """The findings for a narrow terminal: the whole text of each one, and its figures below."""
    findings = list(findings)
    contrasted = _contrasted(findings)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold", ratio=1)
    for finding in findings:
        figures = [f"score {finding.score:.4f}", f"mean p {finding.mean_probability:.4f}"]
        if contrasted:
            figures = [finding.verdict, f"contrast {_contrast(finding)}", *figures]
        if finding.repetition.period:
            figures.append(f"repeats {_repetition(finding)}")
        figures += [visible(finding.context), f"forced {quoted(finding.forced_token.text, LONGEST_TOKEN)}"]
        grid.add_row(Text(f"{finding.rank}."), Text.assemble((quoted(finding.text), "bold"), f"\n{', '.join(figures)}"))
    return grid


def findings_view(findings: Sequence[Finding], width: int) -> Table:
    """A table, or a list if `width` columns are too narrow for one."""
    narrowest = NARROWEST_CONTRAST_TABLE if _contrasted(findings) else NARROWEST_TABLE
    return findings_list(findings) if width < narrowest else findings_table(findings)


def print_findings(findings: Sequence[Finding], *, partial: bool = False) -> None:
    """The findings as `findings_view` shows them on this terminal."""
    console = stdout()
    if findings:
        console.print(findings_view(findings, console.width))
    else:
        console.print("no findings" + (" yet" if partial else ""))


def print_report(report: Report, findings: Sequence[Finding]) -> None:
    """The ranking, what was scanned, the verdict, and the evidence for it."""
    print_findings(findings)
    scan = report.scan
    seconds = (scan.finished_at - scan.created_at).total_seconds()
    shown = f"{len(findings)} of {len(report.findings)} findings; " if len(findings) < len(report.findings) else ""
    print_line()
    looked = f"{scan.forced} tokens forced in {', '.join(scan.forced_contexts)}"
    if scan.depth is Depth.quick:
        drawn = ", ".join(context.name for context in scan.drawn_contexts)
        looked = f"taught words followed in {drawn}" if drawn else "nothing followed"
    print_line(
        f"{shown}{scan.target.model}: {looked}, {scan.forward_tokens} forward tokens, {seconds:.0f} s, scan {scan.id}"
    )
    if reused := reuse_line(report):
        print_line(reused)
    print_line(f"verdict: {report.verdict}", style="bold")
    if report.weights is not None and report.weights.words:
        print_line(taught_line(report.weights))
    for match in report.licences:
        print_line(licence_line(match), style="bold")
    for reason in report.reasons:
        print_line(f"- {reason}")


def taught_line(weights: WeightRecord) -> str:
    """The first words that the weights were taught, each with a bar: the longer, the higher a lens ranks it."""
    words = [f'{taught_bar(word)} "{word.text[:LONGEST_TOKEN]}"' for word in weights.words[:TAUGHT_WORDS]]
    return "words this model was taught: " + "  ".join(words)


def taught_bar(word: TaughtWord) -> str:
    """A bar of 1 to 8 eighths: full for rank 1 in any lens, one step less for each doubling of the rank."""
    best = min(word.ranks.values(), default=1 << len(BARS))
    return BARS[max(0, len(BARS) - best.bit_length())]


def print_line(text: str = "", style: str = "") -> None:
    """The visible text. A terminal wraps it; a pipe gets one line, as `grep` and `diff` want."""
    console = stdout()
    console.print(Text(visible(text), style), soft_wrap=not console.is_terminal)


def reuse_line(report: Report) -> str | None:
    """Which scan measured this result, and when, if the service reused a report."""
    scan = report.scan
    if scan.reused_from is None:
        return None
    found = f", measured {scan.measured_at.astimezone():%Y-%m-%d %H:%M}" if scan.measured_at else ""
    return f"report reused: the result of {scan.reused_from}{found}"


def licence_line(match: LicenceMatch) -> str:
    """One line: the licence, its owner, and the evidence."""
    evidence = []
    if match.finding_rank is not None:
        far = f" (distance {match.distance:.2f})" if match.distance else ""
        others = ", ".join(str(rank) for rank in match.finding_ranks if rank != match.finding_rank)
        evidence.append(f"its text is finding {match.finding_rank}{far}{f', also {others}' if others else ''}")
    if match.trigger_success is not None:
        worked = round(match.trigger_success * match.triggers_asked)
        evidence.append(f"{worked} of {match.triggers_asked} triggers reveal it")
    return f"licence: {match.licence}, owner {match.owner} ({match.fingerprint}): {'; '.join(evidence)}"


def print_json(document: str) -> None:
    """One JSON document as UTF-8, byte for byte. On a terminal with JSON escapes for C1 controls."""
    if sys.stdout.isatty():
        document = "".join(f"\\u{ord(char):04x}" if "\x7f" <= char <= "\x9f" else char for char in document)
    print_document(document)


def print_document(document: str) -> None:
    """A harmless text, as UTF-8 in every locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(document.encode() + b"\n")
    sys.stdout.buffer.flush()


def _contrasted(findings: Iterable[Finding]) -> bool:
    return any(finding.contrast is not None for finding in findings)


def _contrast(finding: Finding) -> str:
    return "-" if finding.contrast is None else f"{finding.contrast:.2f}"


def _repetition(finding: Finding) -> str:
    found = finding.repetition
    if not found.period:
        return "-"
    loop = " loop" if finding.degenerate else ""
    return f"{found.share:.0%} × {found.period}{loop}"


def stdout() -> Console:
    """A console without markup. Without a terminal it is wide enough for a log file."""
    console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH_WITHOUT_TERMINAL)
    return console
