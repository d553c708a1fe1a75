"""A report as Markdown (CommonMark 0.31 with GFM tables), for people who review uploads.

Any text that a report quotes may come from a hostile model. So it stands in code spans and code blocks, where renderers
parse no HTML, no links and no mentions.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from tokenforce.cli.output import licence_line, reuse_line, taught_bar, visible
from tokenforce.sdk.version import __version__
from tokenforce.wire.findings import Finding, LicenceMatch, SuppressedToken
from tokenforce.wire.report import KNOWN_BASE, ContextRecord, Report, ScanRecord, SkippedIds, WeightRecord
from tokenforce.wire.scans import Depth

LONGEST_TEXT = 2000
"""Characters of a found text."""
LONGEST_TOKEN = 60
"""Characters of a token."""
RANGES_SHOWN = 8
"""Ranges of skipped ids per row."""
COLUMNS = 110
"""Width of the lines in a code block."""


def code(text: str) -> str:
    """A code span with the visible text; "(empty)" for an empty text.

    A backtick becomes `\\x60`, an escape as `visible` writes them. CommonMark 6.1 allows a longer fence instead, but
    renderers stop counting at some length (cmark at 80).
    """
    return f"`{visible(text).replace('`', chr(92) + 'x60')}`" if text else "(empty)"


def quoted_code(text: str, longest: int = LONGEST_TEXT) -> str:
    """A code span of the text in quotes, which show the spaces at its ends; cut if it is very long."""
    rest = len(text) - longest
    return code(f'"{text[:longest]}"') + (f" +{rest} more" if rest > 0 else "")


def literal(lines: Iterable[str]) -> list[str]:
    """An indented code block with one list item per line of text. No text can end it."""
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
    """A GFM table. Bars in cells are escaped, also within code spans (GFM 4.10). `heads` must be safe."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return lines


def report_markdown(report: Report, *, top: int) -> str:
    """The whole document, with the first `top` findings."""
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
        *_taught(report.weights),
        ["## What was scanned"],
        [_looked_at(scan)],
        table(
            ("context", "tokens", "aligned", "text", "note"),
            [_context(context) for context in (*scan.contexts, *scan.drawn_contexts)],
        ),
        _skipped(scan.skipped),
        ["## Settings"],
        _settings(scan),
        *_timings(scan),
        [f"Versions: {_pairs(scan.versions.items())}."],
        [
            "Texts in quotes are output of the model, with Python escapes for backticks and characters that do not "
            f"print. Report schema {code(report.schema_version)}, written by tokenforce {code(__version__)}."
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
        facts.append("Reference: none. Without one, text from pre-training looks like a hidden text.")
    else:
        reference = scan.reference
        facts += [
            f"Reference: {code(reference.model)}"
            + (f" at {code(reference.revision)}" if reference.revision else "")
            + (", the nearest known base" if reference.source == KNOWN_BASE else f", named by {code(reference.source)}")
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
    heads = ("context", "forced", "suppressed next token", "log p − log q", "z")
    return [["## Suppressed tokens"], table(heads, rows)]


def _looked_at(scan: ScanRecord) -> str:
    if scan.depth is Depth.quick:
        return "Followed the words that the weights were taught in the drawn contexts; the vocabulary was not forced."
    listed = " and ".join(code(name) for name in scan.forced_contexts)
    return f"Forced {scan.forced} of {scan.target.vocabulary_size} vocabulary entries in {listed}."


def _taught(weights: WeightRecord | None) -> list[list[str]]:
    """The words that the weights were taught, with bars: the longer, the higher a lens ranks a word."""
    if weights is None:
        return []
    parts = [["## Words this model was taught"]]
    if weights.note is not None:
        parts.append([code(weights.note)])
    if not weights.words:
        return parts
    about = (
        "Read from target minus reference, without running either. The words order the search and decide nothing: "
        "ordinary fine-tuning teaches words too."
    )
    if weights.relative_change is not None:
        about += f" The late layers changed by {weights.relative_change:.2%} of their size."
    lenses = list(weights.words[0].ranks)
    rows = [
        (
            quoted_code(word.text, LONGEST_TOKEN),
            code(taught_bar(word)),
            *(str(word.ranks.get(lens, "-")) for lens in lenses),
        )
        for word in weights.words
    ]
    return [*parts, [about], table(("word", "best rank", *lenses), rows)]


def _context(context: ContextRecord) -> tuple[str, ...]:
    aligned = "yes" if context.aligned else "no"
    return code(context.name), str(len(context.ids)), aligned, quoted_code(context.text), code(context.note or "-")


def _skipped(skipped: Sequence[SkippedIds]) -> list[str]:
    if not skipped:
        return ["No entry was left out."]
    rows = []
    for item in skipped:
        count = sum(last - first + 1 for first, last in item.ranges)
        shown = [str(first) if first == last else f"{first}–{last}" for first, last in item.ranges[:RANGES_SHOWN]]
        if len(item.ranges) > RANGES_SHOWN:
            shown.append(f"and {len(item.ranges) - RANGES_SHOWN} more ranges")
        rows.append((code(item.reason), str(count), ", ".join(shown)))
    return table(("not forced: reason", "entries", "ids"), rows)


def _settings(scan: ScanRecord) -> list[str]:
    settings = scan.settings
    return [
        f"Preset {code(settings.preset)}: α = {settings.alpha}, β = {settings.beta}, floor {settings.floor:g}, "
        f"{settings.keep} candidates per context, texts of at least {settings.min_tokens} tokens, "
        f"forced token {'counted' if settings.count_forced_token else 'not counted'} in the mean, "
        f"decoding {'stops' if settings.stop_at_end else 'does not stop'} at the end token."
    ]


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{code(name)} {code(value)}" for name, value in pairs) or "not recorded"


def _timings(scan: ScanRecord) -> list[list[str]]:
    """Seconds per stage, in the order of the report."""
    rows = [(code(stage), f"{seconds:g}") for stage, seconds in scan.timings_seconds.items()]
    return [table(("stage", "seconds"), rows)] if rows else []
