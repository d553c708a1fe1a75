"""The results as Markdown tables, aligned so that a terminal shows them well too."""

from __future__ import annotations

from collections.abc import Sequence

from tokenforce_eval.methods import ABLATIONS, METHODS, Method
from tokenforce_eval.rates import CONFIDENCE, Recall, false_alarms, lower_bound, recall
from tokenforce_eval.rows import Row
from tokenforce_eval.specimens import KINDS, Half
from tokenforce_planting.text_overlap import MATCH_SHARE

_NAMES = {"utfc": "UTFC", "adaptive": "adaptive UTFC"}
_FOUND = [
    "models",
    "recall@1 (at least)",
    "recall@10",
    f"@1 with {MATCH_SHARE:.0%} of it",
    "text (median)",
    "`hidden_text`",
]


def tables(rows: Sequence[Row], half: Half) -> str:
    """All tables of one half of the zoo."""
    own = [row for row in rows if row.half == half]
    compared = [method for method in METHODS if not method.ablation and any(r.method == method.name for r in own)]
    parts = [_detection(own, compared), _alarms(own, compared), _cost(own, compared)]
    if any(row.method == method.name for row in own for method in ABLATIONS):
        parts.append(_ablations(own))
    return "\n\n".join(part for part in parts if part)


def per_model(rows: Sequence[Row]) -> str:
    """A table with one line per model and method."""
    lines = [
        [
            row.specimen,
            row.method,
            row.verdict,
            "" if not row.hidden else str(row.rank or "-"),
            "" if not row.hidden else f"{row.share:.0%}",
            f"{row.seconds:.0f}",
            f"{row.forward_tokens:,}",
        ]
        for row in rows
    ]
    return _table(["model", "method", "verdict", "rank", "share of text", "seconds", "forward tokens"], lines)


def _detection(rows: Sequence[Row], methods: Sequence[Method]) -> str:
    lines = []
    for kind in KINDS:
        for method in methods:
            found = [row for row in rows if row.kind == kind and row.hidden and row.method == method.name]
            if found:
                lines.append([_NAMES.get(kind, kind), method.name, *_recall(recall(found))])
    for method in methods:
        found = [row for row in rows if row.hidden and row.method == method.name]
        if found:
            lines.append(["**all**", method.name, *_recall(recall(found))])
    return _table(["hidden by", "method", *_FOUND], lines)


def _recall(found: Recall) -> list[str]:
    n = found.models
    return [
        str(n),
        f"{found.first / n:.0%} ({lower_bound(found.first, n):.0%})",
        f"{found.first_ten / n:.0%}",
        f"{found.whole / n:.0%}",
        f"{found.share:.0%}",
        f"{found.hidden_text}/{n}",
    ]


def _alarms(rows: Sequence[Row], methods: Sequence[Method]) -> str:
    lines = []
    for method in methods:
        clean = [row for row in rows if row.kind == "clean" and row.method == method.name]
        if clean:
            alarms = false_alarms(clean)
            n = alarms.models
            lines.append(
                [
                    method.name,
                    str(n),
                    f"{alarms.hidden_text}/{n} (≤ {alarms.bound:.0%})",
                    f"{alarms.suspicious}/{n}",
                    f"≤ {alarms.suspicious_bound:.0%}",
                ]
            )
    bound = f"either, {CONFIDENCE:.0%} bound"
    return _table(["false alarms", "clean models", "`hidden_text`", "`suspicious`", bound], lines) if lines else ""


def _cost(rows: Sequence[Row], methods: Sequence[Method]) -> str:
    lines = []
    for method in methods:
        # Without a base that is its own reference: the service runs nothing for it.
        own = [row for row in rows if row.method == method.name and row.forward_tokens]
        if not own:
            continue
        mean = recall(own)
        rate = mean.forward_tokens / mean.seconds if mean.seconds else 0.0
        lines.append([method.name, f"{mean.seconds:.0f}", f"{mean.forward_tokens:,.0f}", f"{rate:,.0f}"])
    return _table(["cost, mean", "seconds per model", "forward tokens", "tokens/s"], lines) if lines else ""


def _ablations(rows: Sequence[Row]) -> str:
    compared = {row.specimen for row in rows if row.method in {method.name for method in ABLATIONS}}
    lines = []
    for name in ("thorough", *(method.name for method in ABLATIONS), "alone"):
        own = [row for row in rows if row.method == name and row.specimen in compared]
        if own:
            lines.append([name, *_recall(recall(own)), f"{recall(own).seconds:.0f}"])
    return _table(["ablation", *_FOUND, "seconds"], lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    ruled = [head, ["-" * width for width in widths], *lines]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in ruled
    )
