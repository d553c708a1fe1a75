"""BAIT on the models of the zoo, on an engine of its own in a child process: the service's has been stopped by then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from tokenforce.wire.findings import Verdict
from tokenforce_eval.bait import FLAGGED, PROMPTS, Bait, Inverted, word_like
from tokenforce_eval.methods import BAIT
from tokenforce_eval.rows import Found, Row, row_of
from tokenforce_eval.zoo_models import Housed
from tokenforce_planting.child_process import Send, run_in_child

_LENGTH = 128
"""Longest sequence: prompt, entry and 20 steps."""


def run_bait(
    zoo: Sequence[Housed],
    base: Path,
    ids: Sequence[int] | None,
    on_progress: Callable[[str, float], object],
    on_row: Callable[[Housed, Row], object],
) -> None:
    """BAIT on every model of `zoo`. Raises `ChildFailed`.

    `on_progress` gets a model's name and the fraction (0 to 1) of the whole zoo that is done.
    """
    by_name = {housed.specimen.name: housed for housed in zoo}

    def on_event(event: tuple[str, float] | Row) -> None:
        if isinstance(event, Row):
            on_row(by_name[event.specimen], event)
        else:
            on_progress(*event)

    if zoo:
        run_in_child(partial(_run, tuple(zoo), base, ids), on_event, name="bait")


def _run(zoo: Sequence[Housed], base: Path, ids: Sequence[int] | None, send: Send) -> None:
    from transformers import AutoTokenizer

    from tokenforce_workers.engine.machine import prepare_environment, survey
    from tokenforce_workers.settings import WorkerSettings

    settings = WorkerSettings()
    machine = survey(settings)
    prepare_environment(machine)
    from tokenforce_workers.engine.sessions import Followed
    from tokenforce_workers.engine.vllm_engine import Engine

    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    asked = [
        list(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
            )
        )
        for prompt in PROMPTS
    ]
    wanted = range(len(tokenizer)) if ids is None else ids
    entries = [i for i in wanted if word_like(tokenizer.decode([i]))]
    ends = frozenset(tokenizer.all_special_ids)

    done = count()

    def score(engine: Engine, housed: Housed) -> None:
        started = time.monotonic()
        before = next(done)
        with Followed(engine) as followed:
            bait = Bait(followed, asked, ends)
            found = bait.run(entries, lambda part: send((housed.specimen.name, (before + part) / len(zoo))))
        ranking = [_found(target, tokenizer.decode(target.ids)) for target in found]
        flagged = any(text.verdict == Verdict.hidden_text for text in ranking)
        verdict = Verdict.hidden_text if flagged else Verdict.clean
        send(row_of(housed, BAIT, ranking, verdict, time.monotonic() - started, followed.forward_tokens))

    for housed in zoo:
        # As stored: carriers are float32, and rounding them would erase what was planted.
        dtype = machine.compute_dtype("bfloat16" if housed.folder == base else "float32")
        model, adapter = (housed.folder, None) if housed.lora_rank is None else (base, str(housed.folder))
        engine = Engine(str(model), dtype, _LENGTH, machine, settings, adapter=adapter)
        score(engine, housed)
        engine.close()


def _found(target: Inverted, text: str) -> Found:
    verdict = Verdict.hidden_text if target.q > FLAGGED else Verdict.clean
    return Found(text, round(target.q, 4), round(target.q, 4), verdict.value)
