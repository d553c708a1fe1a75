"""The results as one picture: what each method finds, and how far hidden texts are from texts of clean models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokenforce_core.plan.verdict_thresholds import VERDICT
from tokenforce_eval.methods import METHODS, STANDARD
from tokenforce_eval.rates import recall
from tokenforce_eval.rows import Row
from tokenforce_eval.specimens import KINDS, Half

_COLOURS = {
    "quick": "#0f3d57",
    "standard": "#1b6e53",
    "thorough": "#4f9d7e",
    "alone": "#a9cfae",
    "paper": "#c9a227",
    "bait": "#9a5b8f",
    "cdd": "#3d6fa8",
    "haystack": "#c06f4a",
}
_HIDDEN, _CLEAN = "#1b6e53", "#b2432f"


def save_plot(rows: Sequence[Row], half: Half, path: Path) -> None:
    """Write the picture of one half of the zoo to `path`. The file name's ending gives the format."""
    own = [row for row in rows if row.half == half]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    _recalls(left, own)
    _distances(right, [row for row in own if row.method == STANDARD.name])
    figure.savefig(path, dpi=130)


def _recalls(axes: Axes, rows: Sequence[Row]) -> None:
    methods = [method.name for method in METHODS if not method.ablation and any(r.method == method.name for r in rows)]
    kinds = [kind for kind in KINDS if any(row.kind == kind and row.hidden for row in rows)]
    width = 0.8 / max(1, len(methods))
    for place, method in enumerate(methods):
        for column, kind in enumerate(kinds):
            own = [row for row in rows if row.kind == kind and row.method == method]
            if not own:
                continue
            found = recall(own)
            x = column + (place - (len(methods) - 1) / 2) * width
            colour = _COLOURS.get(method, "grey")
            axes.bar(x, found.first_ten / found.models, width * 0.92, color=colour, alpha=0.35)
            label = method if column == 0 else None
            axes.bar(x, found.first / found.models, width * 0.92, color=colour, label=label)
            share = found.first_ten / found.models
            axes.annotate(f"{found.first}/{found.models}", (x, share), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(kinds)), [f"{k}\n(n = {_models(rows, k)})" for k in kinds])
    axes.set_ylim(0, 1.08)
    axes.set_ylabel("found at rank 1 (pale: in the first ten)")
    if kinds:
        axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    axes.spines[["top", "right"]].set_visible(False)


def _models(rows: Sequence[Row], kind: str) -> int:
    return len({row.specimen for row in rows if row.kind == kind})


def _distances(axes: Axes, rows: Sequence[Row]) -> None:
    for name, colour, marker in (("hidden text", _HIDDEN, "o"), ("strongest text of a clean model", _CLEAN, "x")):
        texts = [row.true if row.hidden else row.first for row in rows if bool(row.hidden) == (colour == _HIDDEN)]
        points = [(t.contrast, t.mean_probability) for t in texts if t is not None and t.contrast is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), color=colour, marker=marker, label=name)
    widest = axes.get_xlim()[1]
    suspicious, hidden = VERDICT.suspicious_contrast_nats_per_token, VERDICT.hidden_contrast_nats_per_token
    for least, style in ((suspicious, ":"), (hidden, "-")):
        corner = [least, least, widest], [1.02, VERDICT.min_mean_probability, VERDICT.min_mean_probability]
        axes.plot(*corner, color="grey", linewidth=0.8, linestyle=style)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("contrast with the base, nats per token\n(line: `hidden_text`; dotted: `suspicious`)")
    axes.set_ylabel("mean token probability")
    if axes.collections:
        axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
