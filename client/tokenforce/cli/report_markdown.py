"""A report as Markdown (CommonMark 0.31 with GFM tables), for people who review uploads.

Everything that a report quotes may come out of a hostile model: it is written into code spans, code blocks or table
cells of code spans, in which nothing is parsed, neither HTML nor links nor mentions.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from tokenforce.cli.output import licence_line, reuse_line, visible
from tokenforce.sdk.version import __version__
from tokenforce.wire.findings import Finding, LicenceMatch, SuppressedToken
from tokenforce.wire.report import ContextRecord, Report, ScanRecord, SkippedIds

LONGEST_TEXT = 2000
LONGEST_TOKEN = 60
RANGES_SHOWN = 8
COLUMNS = 110


def code(text: str) -> str:
    """A code span that shows the visible text; an empty one is said in words.

    A backtick becomes `\\x60`, in the manner of `visible`, whose escapes stay unambiguous: a longer fence would do by
    CommonMark 6.1, but renderers give up counting at some length (cmark at 80).
    """
    return f"`{visible(text).replace('`', chr(92) + 'x60')}`" if text else "(empty)"


def quoted_code(text: str, longest: int = LONGEST_TEXT) -> str:
    """A code span of the text in quotes, so that spaces at its ends are seen; cut when it is very long."""
    rest = len(text) - longest
    return code(f'"{text[:longest]}"') + (f" +{rest} more" if rest > 0 else "")


def literal(lines: Iterable[str]) -> list[str]:
    """An indented code block, a list item for each line of text. Nothing can end it but a line of our own."""
    shown = []
    for line in lines:
        shown += textwrap.wrap(
            visible(line),
            COLUMNS,
            initial_indent="    - ",
            subsequent_indent="      ",
            break_on_hyphens=False,
        ) or ["    -"]
    return shown


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A GFM table. A bar in a cell is escaped, also within its code spans, as GFM 4.10 has it; heads are ours."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return lines


def report_markdown(report: Report, *, top: int) -> str:
    """The whole document; of the findings the `top` first ones."""
    scan = report.scan
    parts = [
        [f"# {code(scan.target.model)}: {report.verdict}"],
        _facts(report),
        ["## Why"],
        literal(report.reasons) or ["The report gives no reasons."],
        *_licences(report.licences),
        ["## Findings"],
        _findings(report.findings, top),
        *_suppressed(report.suppressed, top),
        ["## What was looked at"],
        [f"{scan.forced} of {scan.target.vocabulary_size} vocabulary entries were forced in each context."],
        table(("context", "tokens", "aligned", "text", "note"), [_context(context) for context in scan.contexts]),
        _skipped(scan.skipped),
        ["## How"],
        _settings(scan),
        [f"Seconds: {_pairs((name, f'{value:g}') for name, value in scan.timings_seconds.items())}."],
        [f"Versions: {_pairs(scan.versions.items())}."],
        [
            "Quoted texts are what the model said. Characters that do not print, and backticks, are written as Python "
            f"escapes. Report schema {code(report.schema_version)}, written by tokenforce {code(__version__)}."
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _facts(report: Report) -> list[str]:
    scan, target = report.scan, report.scan.target
    seconds = (scan.finished_at - scan.created_at).total_seconds()
    facts = [
        f"Verdict: **{report.verdict.replace('_', ' ')}**",
        f"Scan: {code(scan.id)}, {scan.created_at:%Y-%m-%d %H:%M:%S %Z}, {seconds:.0f} s, "
        f"{scan.forward_tokens} forward tokens",
        f"Model: {code(target.model)}" + (f" at {code(target.revision)}" if target.revision else ""),
        f"Digest: {code(target.digest)}",
        f"Architecture: {code(target.architecture)}"
        + (f", {target.parameters} parameters" if target.parameters is not None else "")
        + (f", {code(target.dtype)}" if target.dtype else ""),
    ]
    if scan.reference is None:
        facts.append("Reference: none; boilerplate of pre-training cannot be told from a planted text")
    else:
        reference = scan.reference
        facts += [
            f"Reference: {code(reference.model)}"
            + (f" at {code(reference.revision)}" if reference.revision else "")
            + f", named by {code(reference.source)}"
            + (", identical to the model" if reference.identical else "")
            + (f"; {code(reference.note)}" if reference.note else ""),
            f"Reference digest: {code(reference.digest)}",
        ]
    if reused := reuse_line(report):
        facts.append(code(reused))
    return [f"- {fact}" for fact in facts]


def _licences(matches: Sequence[LicenceMatch]) -> list[list[str]]:
    return [["## Licences"], literal(licence_line(match) for match in matches)] if matches else []


def _findings(findings: Sequence[Finding], top: int) -> list[str]:
    if not findings:
        return ["None."]
    rows = [
        (
            str(finding.rank),
            finding.verdict.replace("_", " "),
            f"{finding.score:.4f}",
            f"{finding.mean_probability:.4f}",
            "-" if finding.contrast is None else f"{finding.contrast:.2f}",
            f"{finding.repetition.share:.0%} × {finding.repetition.period}" if finding.repetition.period else "-",
            code(finding.context),
            quoted_code(finding.forced_token.text, LONGEST_TOKEN),
            quoted_code(finding.text),
        )
        for finding in findings[:top]
    ]
    heads = ("#", "verdict", "score", "mean p", "contrast", "repeats", "context", "forced", "text")
    left = [] if len(findings) <= top else ["", f"{top} of {len(findings)}; the JSON document has them all."]
    return [*table(heads, rows), *left]


def _suppressed(tokens: Sequence[SuppressedToken], top: int) -> list[list[str]]:
    """What the target was trained not to say."""
    if not tokens:
        return []
    rows = [
        (
            code(item.context),
            quoted_code(item.forced_token.text, LONGEST_TOKEN),
            quoted_code(item.token.text, LONGEST_TOKEN),
            f"{item.log_ratio:.2f}",
            f"{item.z:.1f}",
        )
        for item in tokens[:top]
    ]
    heads = ("context", "forced", "next token, not said any more", "log p − log q", "z")
    return [["## Suppressed tokens"], table(heads, rows)]


def _context(context: ContextRecord) -> tuple[str, ...]:
    aligned = "yes" if context.aligned else "no"
    return code(context.name), str(len(context.ids)), aligned, quoted_code(context.text), code(context.note or "-")


def _skipped(skipped: Sequence[SkippedIds]) -> list[str]:
    if not skipped:
        return ["No entry was skipped."]
    rows = []
    for item in skipped:
        count = sum(last - first + 1 for first, last in item.ranges)
        shown = [str(first) if first == last else f"{first}–{last}" for first, last in item.ranges[:RANGES_SHOWN]]
        if len(item.ranges) > RANGES_SHOWN:
            shown.append(f"and {len(item.ranges) - RANGES_SHOWN} more ranges")
        rows.append((code(item.reason), str(count), ", ".join(shown)))
    return table(("not forced, because", "entries", "ids"), rows)


def _settings(scan: ScanRecord) -> list[str]:
    settings = scan.settings
    return [
        f"Preset {code(settings.preset)}: α = {settings.alpha}, β = {settings.beta}, floor {settings.floor:g}, "
        f"{settings.keep} kept per context, texts of {settings.min_tokens} tokens or more, "
        f"the forced token {'counts' if settings.count_forced_token else 'does not count'}, "
        f"decoding {'stops' if settings.stop_at_end else 'does not stop'} at the end token."
    ]


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{code(name)} {code(value)}" for name, value in pairs) or "not told"
