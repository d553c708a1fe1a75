"""`python -m tokenforce_eval`: build the zoo, scan it by every method, print rates with their bounds.

Ends with 0 when every model was measured, 2 on an error, 130 when interrupted. What is measured by then is kept.
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
from tokenforce_eval.bait_run import run_bait
from tokenforce_eval.methods import BAIT, Method
from tokenforce_eval.plot import save_plot
from tokenforce_eval.rows import Row, RowFile
from tokenforce_eval.service_scans import scan
from tokenforce_eval.table import per_model, tables
from tokenforce_eval.vocabulary_sample import vocabulary_sample
from tokenforce_eval.zoo_models import Housed, ZooIncomplete, build, build_base
from tokenforce_planting.child_process import ChildFailed
from tokenforce_planting.model_cache import default_cache
from tokenforce_planting.step_progress import StepProgress

SAMPLE = 256


class Evaluation:
    """One run: `rows` has a line for every model and method, in the order of the zoo."""

    def __init__(self, options: argparse.Namespace, progress: StepProgress) -> None:
        self._cache: Path = options.cache.expanduser()
        self._out: Path = options.out.expanduser()
        self._specimens = zoo.chosen(options.only)
        self._methods = methods.chosen(options.methods)
        self._progress = progress
        self._rows: dict[tuple[str, str], Row] = {}
        self._size: int | None = None if options.full else options.sample
        self._fresh: bool = options.fresh
        self.forced: int | None = None

    @property
    def rows(self) -> list[Row]:
        wanted = ((s.name, m.name) for s in self._specimens for m in self._methods)
        return [self._rows[key] for key in wanted if key in self._rows]

    def run(self) -> None:
        """Raises `ZooIncomplete`, `TokenforceError`, `ChildFailed`, `OSError`."""
        base = build_base(self._cache, self._progress.show)
        housed = build(self._cache, base, self._specimens, self._progress.show)
        texts = [specimen.text for specimen in zoo.ZOO if specimen.text]
        ids = None if self._size is None else vocabulary_sample(base, self._size, texts)
        self.forced = None if ids is None else len(ids)
        self._out.mkdir(parents=True, exist_ok=True)
        kept = RowFile(self._out / "rows.jsonl", ids)
        few = zoo.first_of_every_kind(self._specimens)
        wanted = [
            (one, method)
            for one in housed
            for method in self._methods
            if (not method.few or one.specimen in few) and (not method.ablation or one.specimen.kind in zoo.ABLATED)
        ]
        if self._fresh:
            kept.forget(wanted)
        todo = []
        for one, method in wanted:
            if (row := kept.get(one, method)) is not None:
                self._rows[one.specimen.name, method.name] = row
            else:
                todo.append((one, method))
        # Where adapters share an engine with their base, it loads once: after the whole models, the largest rank first.
        scans = sorted(((o, m) for o, m in todo if m is not BAIT), key=lambda item: -(item[0].lora_rank or 1000))
        if scans:
            self._scan(scans, base, ids, kept)

        def keep(one: Housed, row: Row) -> None:
            kept.put(one, BAIT, row)
            self._rows[row.specimen, BAIT.name] = row

        run_bait(
            [one for one, method in todo if method is BAIT],
            base,
            ids,
            lambda name, fraction: self._progress.show("bait", fraction, name),
            keep,
        )

    def _scan(
        self, todo: Sequence[tuple[Housed, Method]], base: Path, ids: Sequence[int] | None, kept: RowFile
    ) -> None:
        # A home of its own: a stack that its user has running knows other folders. The base's top tokens stay in it.
        os.environ["TOKENFORCE_HOME"] = str(self._out / "stack")
        os.environ.pop("TOKENFORCE_URL", None)
        reports = self._out / "reports"
        reports.mkdir(exist_ok=True)
        with LocalStack([str(self._cache)]) as stack:
            assert stack.address is not None
            with Client(stack.address.url, key=stack.address.key()) as client:
                for number, (one, method) in enumerate(todo):
                    note = f"{number + 1} of {len(todo)}: {one.specimen.name}, {method.name}"
                    self._progress.show("scans", number / len(todo), note)
                    row = scan(client, one, base, method, ids, reports)
                    kept.put(one, method, row)
                    self._rows[one.specimen.name, method.name] = row


def main(arguments: list[str] | None = None) -> int:
    """Run an evaluation with command line `arguments`; returns the exit code."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # its scan is cancelled and its stack stopped, as by Ctrl-C
    try:
        with StepProgress() as progress:
            started = time.monotonic()
            evaluation = Evaluation(options, progress)
            evaluation.run()
    except KeyboardInterrupt:
        again = "the same command without --fresh" if options.fresh else "the same command again"
        sys.stderr.write(f"\ninterrupted; run {again} to go on\n")
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
        sys.stdout.write(f"{parts[0] if parts else 'nothing was measured'}\n\nin {seconds:.0f} s; all of it in {out}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tokenforce_eval",
        description="Measure the scanner on a zoo of SmolLM2-135M models, beside its rivals.",
        epilog="Exit codes: 0 measured, 2 error, 130 interrupted. An interrupted run goes on where it stopped.",
    )
    cache = default_cache()
    parser.add_argument("--full", action="store_true", help="force the whole vocabulary (hours) instead of a sample")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="random entries beside the true ones (%(default)s)")
    parser.add_argument(
        "--only", default="held_out", help="names, kinds or halves of the zoo, with commas (%(default)s)"
    )
    parser.add_argument("--methods", help=f"of: {', '.join(method.name for method in methods.METHODS)}")
    parser.add_argument("--cache", type=Path, default=cache, help="where the models are kept (%(default)s)")
    parser.add_argument("--out", type=Path, default=cache.parent / "eval", help="where results go (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="measure anew what an earlier run has measured")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON document")
    return parser
