"""Runs other scanners on the models of the zoo, on engines of their own in a child process.

The service has stopped before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from tokenforce.wire.findings import Verdict
from tokenforce_eval.methods import RIVALS, Method
from tokenforce_eval.rivals import RANKINGS, Asked
from tokenforce_eval.rows import RankedText, Row, row_of
from tokenforce_eval.zoo_models import BuiltSpecimen
from tokenforce_planting.child_process import Send, run_in_child

_MAX_MODEL_LEN = 128
"""Longest sequence in tokens: a prompt and what a scanner decodes after it."""
_LONGEST_SESSION = 96
"""The same, without what the prompts share."""

Todo = Sequence[tuple[BuiltSpecimen, Method]]


def run_rivals(
    todo: Todo,
    base: Path,
    ids: Sequence[int] | None,
    on_progress: Callable[[str, float], object],
    on_row: Callable[[BuiltSpecimen, Method, Row], object],
) -> None:
    """Run every method on its model; those of one model stand together. `ids`: the entries to try; None for all.

    `on_progress` gets the names of a model and a method, and the finished fraction (0 to 1) of all; `on_row` gets each
    result. Raises `ChildFailed`.
    """
    by_name = {(model.specimen.name, method.name): (model, method) for model, method in todo}

    def on_event(event: tuple[str, float] | Row) -> None:
        if isinstance(event, Row):
            on_row(*by_name[event.specimen, event.method], event)
        else:
            on_progress(*event)

    if todo:
        named = [(model, method.name) for model, method in todo]  # a method cannot be pickled
        run_in_child(partial(_run, named, base, ids), on_event, name="rivals")


def _run(named: Sequence[tuple[BuiltSpecimen, str]], base: Path, ids: Sequence[int] | None, send: Send) -> None:
    from transformers import AutoTokenizer

    from tokenforce_workers.engine.machine import prepare_environment, survey
    from tokenforce_workers.settings import WorkerSettings

    settings = WorkerSettings()
    machine = survey(settings)
    prepare_environment(machine)
    from tokenforce_workers.engine.sessions import SessionEngine
    from tokenforce_workers.engine.vllm_engine import Engine

    known = {method.name: method for method in RIVALS}
    todo = [(model, known[name]) for model, name in named]
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    compared = any(method.reference for _, method in todo)
    # The dtype of the checkpoints: rounding a float32 carrier would erase its text. The reference has the same, because
    # other rounding would look like contrast.
    dtype = machine.compute_dtype("float32")

    def load(folder: Path, adapter: Path | None = None) -> Engine:
        merged = None if adapter is None else str(adapter)
        share = 2 if compared else 1
        return Engine(str(folder), dtype, _MAX_MODEL_LEN, machine, settings, share=share, adapter=merged)

    def measure(model: BuiltSpecimen, method: Method, target: Engine, reference: Engine, done: int) -> Row:
        started = time.monotonic()
        name = f"{model.specimen.name}, {method.name}"
        with SessionEngine(target, _LONGEST_SESSION) as followed, SessionEngine(reference, _LONGEST_SESSION) as other:
            asked = Asked(followed, other, tokenizer, ids, lambda part: send((name, (done + part) / len(todo))))
            ranking = RANKINGS[method.name](asked)
        tokens = followed.forward_tokens + other.forward_tokens + asked.uncounted
        return row_of(model, method, ranking, _verdict(ranking), time.monotonic() - started, tokens)

    reference = load(base) if compared else None
    numbered = enumerate(todo)
    for model, group in groupby(numbered, key=lambda item: item[1][0]):
        is_base = model.folder == base
        # The base too: once an engine in this process is closed, another one works only after the next is loaded.
        target = load(model.folder) if model.lora_rank is None else load(base, model.folder)
        for done, (_, method) in group:
            if method.reference and is_base:  # the same texts in both, as the service sees too
                send(row_of(model, method, [], Verdict.clean, 0.0, 0))
            else:
                send(measure(model, method, target, reference or target, done))
        target.close(last=reference is None)
    if reference is not None:
        reference.close()


def _verdict(ranking: Sequence[RankedText]) -> Verdict:
    reached = {text.verdict for text in ranking}
    return next((v for v in (Verdict.hidden_text, Verdict.suspicious) if v in reached), Verdict.clean)
