"""Runs BAIT on the models of the zoo, on its own engine in a child process. The service has stopped before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from tokenforce.wire.findings import Verdict
from tokenforce_eval.bait import FLAGGED_ABOVE_Q, PROMPTS, Bait, GrownTarget, word_like
from tokenforce_eval.methods import BAIT
from tokenforce_eval.rows import RankedText, Row, row_of
from tokenforce_eval.zoo_models import BuiltSpecimen
from tokenforce_planting.child_process import Send, run_in_child

_MAX_MODEL_LEN = 128
"""Longest sequence in tokens: prompt, entry and 20 steps."""


def run_bait(
    zoo: Sequence[BuiltSpecimen],
    base: Path,
    ids: Sequence[int] | None,
    on_progress: Callable[[str, float], object],
    on_row: Callable[[BuiltSpecimen, Row], object],
) -> None:
    """Run BAIT on every model of `zoo`. `ids`: the entries to try; None for the whole vocabulary.

    `on_progress` gets a model's name and the finished fraction (0 to 1) of all models; `on_row` gets each result.
    Raises `ChildFailed`.
    """
    by_name = {model.specimen.name: model for model in zoo}

    def on_event(event: tuple[str, float] | Row) -> None:
        if isinstance(event, Row):
            on_row(by_name[event.specimen], event)
        else:
            on_progress(*event)

    if zoo:
        run_in_child(partial(_run, tuple(zoo), base, ids), on_event, name="bait")


def _run(zoo: Sequence[BuiltSpecimen], base: Path, ids: Sequence[int] | None, send: Send) -> None:
    from transformers import AutoTokenizer

    from tokenforce_workers.engine.machine import prepare_environment, survey
    from tokenforce_workers.settings import WorkerSettings

    settings = WorkerSettings()
    machine = survey(settings)
    prepare_environment(machine)
    from tokenforce_workers.engine.sessions import SessionEngine
    from tokenforce_workers.engine.vllm_engine import Engine

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    prompts = [
        list(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
            )
        )
        for prompt in PROMPTS
    ]
    candidates = range(len(tokenizer)) if ids is None else ids
    entries = [i for i in candidates if word_like(tokenizer.decode([i]))]
    ends = frozenset(tokenizer.all_special_ids)

    done = count()

    def score(engine: Engine, model: BuiltSpecimen) -> None:
        started = time.monotonic()
        before = next(done)
        with SessionEngine(engine) as followed:
            bait = Bait(followed, prompts, ends)
            found = bait.run(entries, lambda part: send((model.specimen.name, (before + part) / len(zoo))))
        ranking = [_ranked(target, tokenizer.decode(target.ids)) for target in found]
        flagged = any(text.verdict == Verdict.hidden_text for text in ranking)
        verdict = Verdict.hidden_text if flagged else Verdict.clean
        send(row_of(model, BAIT, ranking, verdict, time.monotonic() - started, followed.forward_tokens))

    for model in zoo:
        # The dtype of the checkpoint: rounding a float32 carrier would erase its text.
        dtype = machine.compute_dtype("bfloat16" if model.folder == base else "float32")
        folder, adapter = (model.folder, None) if model.lora_rank is None else (base, str(model.folder))
        engine = Engine(str(folder), dtype, _MAX_MODEL_LEN, machine, settings, adapter=adapter)
        score(engine, model)
        engine.close()


def _ranked(target: GrownTarget, text: str) -> RankedText:
    verdict = Verdict.hidden_text if target.q > FLAGGED_ABOVE_Q else Verdict.clean
    return RankedText(text, round(target.q, 4), round(target.q, 4), verdict.value)
