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
    # The dtype of the checkpoint: rounding a float32 carrier would erase its text. The reference has the same, because
    # other rounding would look like contrast.
    dtype = machine.compute_dtype("float32")

    def load(model: BuiltSpecimen | None) -> Engine:
        """The engine on `model`; None for the reference."""
        folder, adapter = (base, None) if model is None else (model.folder, None)
        if model is not None and model.lora_rank is not None:
            folder, adapter = base, str(model.folder)
        share = 2 if compared else 1
        return Engine(str(folder), dtype, _MAX_MODEL_LEN, machine, settings, share=share, adapter=adapter)

    reference = load(None) if compared else None
    done = 0
    for model, group in groupby(todo, key=lambda item: item[0]):
        methods = [method for _, method in group]
        # One engine is enough for the base, and it is not its own reference.
        own = reference if model.folder == base else None
        target = own or load(model)
        for method in methods:
            if method.reference and model.folder == base:
                send(row_of(model, method, [], Verdict.clean, 0.0, 0))
            else:
                started = time.monotonic()
                name = f"{model.specimen.name}, {method.name}"

                def on_step(part: float, name: str = name, before: int = done) -> None:
                    send((name, (before + part) / len(todo)))

                with (
                    SessionEngine(target, _LONGEST_SESSION) as followed,
                    SessionEngine(reference or target, _LONGEST_SESSION) as followed_reference,
                ):
                    asked = Asked(followed, followed_reference, tokenizer, ids, on_step)
                    ranking = RANKINGS[method.name](asked)
                tokens = followed.forward_tokens + followed_reference.forward_tokens + asked.uncounted
                send(row_of(model, method, ranking, _verdict(ranking), time.monotonic() - started, tokens))
            done += 1
        if target is not reference:
            target.close(last=reference is None)
    if reference is not None:
        reference.close()


def _verdict(ranking: Sequence[RankedText]) -> Verdict:
    reached = {text.verdict for text in ranking}
    return next((v for v in (Verdict.hidden_text, Verdict.suspicious) if v in reached), Verdict.clean)
