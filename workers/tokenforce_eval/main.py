"""`python -m tokenforce_eval`: builds the zoo, scans it with every method, prints rates with their bounds.

Exit codes: 0 all models are measured, 2 error, 130 interrupted. Finished rows are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tokenforce import Client
from tokenforce.cli.local_stack import LocalStack
from tokenforce.sdk.errors import TokenforceError
from tokenforce_eval import methods, zoo
from tokenforce_eval.methods import QUICK, RIVALS, Method
from tokenforce_eval.plot import save_plot
from tokenforce_eval.rival_run import run_rivals
from tokenforce_eval.rows import Row, RowFile
from tokenforce_eval.service_scans import scan
from tokenforce_eval.specimens import BASES, Base, Specimen
from tokenforce_eval.table import per_model, tables
from tokenforce_eval.vocabulary_sample import sampled_answers, vocabulary_sample
from tokenforce_eval.zoo_models import BuiltSpecimen, ZooIncomplete, build, build_base
from tokenforce_planting.child_process import ChildFailed
from tokenforce_planting.model_cache import default_cache
from tokenforce_planting.step_progress import StepProgress

SAMPLE_SIZE = 256


_WHOLE_MODEL_RANK = 1000
"""Whole models are scanned before all adapters, as if their rank were larger."""


class Evaluation:
    """One run. `rows` has a row for each model and method, in the order of the zoo."""

    def __init__(self, options: argparse.Namespace, progress: StepProgress) -> None:
        self._cache: Path = options.cache.expanduser()
        self._out: Path = options.out.expanduser()
        self._specimens = zoo.select(options.only)
        self._methods = methods.select(options.methods)
        self._progress = progress
        self._rows: dict[tuple[str, str], Row] = {}
        self._size: int | None = None if options.full else options.sample
        self._fresh: bool = options.fresh
        self._every: bool = options.every
        self.forced: int | None = None
        """Number of forced entries, of the base with the most; None for the whole vocabulary."""

    @property
    def rows(self) -> list[Row]:
        keys = ((s.name, m.name) for s in self._specimens for m in self._methods)
        return [self._rows[key] for key in keys if key in self._rows]

    def run(self) -> None:
        """Raises `ZooIncomplete`, `TokenforceError`, `ChildFailed`, `OSError`."""
        for base in BASES:
            if specimens := [specimen for specimen in self._specimens if specimen.base == base]:
                self._measure(base, specimens)

    def _measure(self, name: Base, specimens: Sequence[Specimen]) -> None:
        """Measure all models of one base: its vocabulary is its own."""
        base = build_base(self._cache, self._progress.show, name)
        models = build(self._cache, base, specimens, self._progress.show)
        # Of the whole zoo, so that the sample is the same whatever is selected.
        own = [specimen for specimen in zoo.ZOO if specimen.base == name]
        texts = [text for specimen in own for text in specimen.texts]
        texts += sampled_answers([specimen.recipe for specimen in own if specimen.recipe is not None])
        ids = None if self._size is None else vocabulary_sample(base, self._size, texts)
        self.forced = None if ids is None else max(len(ids), self.forced or 0)
        self._out.mkdir(parents=True, exist_ok=True)
        file = RowFile(self._out / "rows.jsonl", ids)
        wanted = self._wanted(models)
        if self._fresh:
            file.forget(wanted)
        todo = []
        for model, method in wanted:
            if (row := file.get(model, method)) is not None:
                self._rows[model.specimen.name, method.name] = row
            else:
                todo.append((model, method))
        self._scan([item for item in todo if item[1] not in RIVALS], base, ids, file)
        self._rivals([item for item in todo if item[1] in RIVALS], base, ids, file)

    def _wanted(self, models: Sequence[BuiltSpecimen]) -> list[tuple[BuiltSpecimen, Method]]:
        first = zoo.first_of_every_kind([model.specimen for model in models])
        return [
            (model, method)
            for model in models
            for method in self._methods
            if (self._every or not method.one_per_kind or model.specimen in first)
            and (not method.ablation or model.specimen.kind in zoo.ABLATED_KINDS)
        ]

    def _scan(
        self, todo: Sequence[tuple[BuiltSpecimen, Method]], base: Path, ids: Sequence[int] | None, file: RowFile
    ) -> None:
        if not todo:
            return
        # On a GPU adapters share one engine with their base. Largest rank first: that engine then fits all of them.
        ordered = sorted(todo, key=lambda item: -(item[0].lora_rank or _WHOLE_MODEL_RANK))
        # A home of its own, because a running stack of the user allows other folders. It also keeps the base's answers.
        os.environ["TOKENFORCE_HOME"] = str(self._out / "stack")
        os.environ.pop("TOKENFORCE_URL", None)
        reports = self._out / "reports"
        reports.mkdir(exist_ok=True)
        with LocalStack([str(self._cache)]) as stack:
            assert stack.address is not None
            with Client(stack.address.url, key=stack.address.key()) as client:
                for number, (model, method) in enumerate(ordered):
                    note = f"{number + 1} of {len(ordered)}: {model.specimen.name}, {method.name}"
                    self._progress.show("scans", number / len(ordered), note)
                    self._keep(file, model, method, scan(client, model, base, method, ids, reports))

    def _rivals(
        self, todo: Sequence[tuple[BuiltSpecimen, Method]], base: Path, ids: Sequence[int] | None, file: RowFile
    ) -> None:
        run_rivals(
            todo,
            base,
            ids,
            lambda names, fraction: self._progress.show("rivals", fraction, names),
            lambda model, method, row: self._keep(file, model, method, row),
        )

    def _keep(self, file: RowFile, model: BuiltSpecimen, method: Method, row: Row) -> None:
        file.put(model, method, row)
        self._rows[model.specimen.name, method.name] = row


def main(arguments: list[str] | None = None) -> int:
    """Run an evaluation with command line `arguments`; returns the exit code."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # as Ctrl-C: the scan is cancelled and the stack stops
    try:
        with StepProgress() as progress:
            started = time.monotonic()
            evaluation = Evaluation(options, progress)
            evaluation.run()
    except KeyboardInterrupt:
        again = "the same command without --fresh" if options.fresh else "the same command again"
        sys.stderr.write(f"\ninterrupted; run {again} to continue\n")
        return 130
    except (ZooIncomplete, TokenforceError, ChildFailed, ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    _write(evaluation, options, time.monotonic() - started)
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _write(evaluation: Evaluation, options: argparse.Namespace, seconds: float) -> None:
    out: Path = options.out.expanduser()
    rows = evaluation.rows
    forced = "the whole vocabulary" if evaluation.forced is None else f"{evaluation.forced} sampled entries"
    if any(row.method == QUICK.name for row in rows):
        forced += f" (`{QUICK.name}`: the words that the weights point at)"
    if own := [method.name for method in RIVALS if not method.sampled and any(r.method == method.name for r in rows)]:
        forced += f" ({', '.join(f'`{name}`' for name in own)}: none)"
    halves = [half for half in ("held_out", "tuning") if any(row.half == half for row in rows)]
    document = {
        "forced": forced,
        "seconds": round(seconds, 1),
        "rows": [asdict(row) for row in rows],
    }
    (out / "eval.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    title = {"held_out": "Held-out half", "tuning": "Tuning half (thresholds were chosen on it)"}
    parts = [f"## {title[half]}: {forced}\n\n{tables(rows, half)}" for half in halves]  # type: ignore[arg-type]
    text = "\n\n".join([*parts, f"## Every model\n\n{per_model(rows)}"]) + "\n"
    (out / "eval.md").write_text(text, "utf-8")
    if halves:
        save_plot(rows, halves[0], out / "eval.png")  # type: ignore[arg-type]
    if options.json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        shown = parts[0] if parts else "nothing was measured"
        sys.stdout.write(f"{shown}\n\n{seconds:.0f} s; all results are in {out}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tokenforce_eval",
        description="Measure the scanner on a zoo of small models, and compare it with other scanners.",
        epilog="Exit codes: 0 measured, 2 error, 130 interrupted. The next run continues an interrupted one.",
    )
    cache = default_cache()
    parser.add_argument("--full", action="store_true", help="force the whole vocabulary (takes hours), not a sample")
    parser.add_argument(
        "--sample",
        type=int,
        default=SAMPLE_SIZE,
        help="entries to force beside the tokens of hidden texts and of clean models' answers (%(default)s)",
    )
    parser.add_argument(
        "--only", default="held_out", help="comma-separated names, kinds, halves or bases of the zoo (%(default)s)"
    )
    usual, more = (", ".join(m.name for m in some) for some in (methods.USUAL, methods.METHODS[len(methods.USUAL) :]))
    parser.add_argument("--methods", help=f"comma-separated; usual: {usual}; more: {more}")
    parser.add_argument(
        "--every", action="store_true", help="every model by every method (hours), not only `quick`; see methods.py"
    )
    parser.add_argument("--cache", type=Path, default=cache, help="folder that keeps the models (%(default)s)")
    parser.add_argument("--out", type=Path, default=cache.parent / "eval", help="folder for the results (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="measure again, also what an earlier run has measured")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON document")
    return parser
