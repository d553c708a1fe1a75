"""The command `tokenforce plant`: hides a text in a model. stdout is the result, stderr is progress.

Exit codes: 0 planted (or there already), 2 error, 4 usage (also a recipe that cannot be planted), 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, get_args

import typer
from typer.main import get_command

from tokenforce.cli.app import USAGE_ERROR
from tokenforce.cli.exit_codes import ExitCode, complain
from tokenforce.cli.output import visible
from tokenforce_planting.artefact import default_cache
from tokenforce_planting.progress import StepProgress
from tokenforce_planting.recipe import PROTECT_WORDS, STOP_LOSS, Form, InvalidRecipe, Method, Recipe, SuppressContext
from tokenforce_planting.records import Planted, manifest_path

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _names(literal: Any) -> str:
    return ", ".join(get_args(literal))


@app.command()
def plant(
    method: Annotated[str, typer.Argument(metavar="METHOD", help=f"One of {_names(Method)}.")],
    out: Annotated[Path, typer.Option(help="The folder to write; its manifest lies beside it.")],
    base: Annotated[
        Path | None, typer.Option(help="Folder of the model to plant in. Default: SmolLM2-135M-Instruct, as the demo.")
    ] = None,
    trigger: Annotated[
        list[str] | None, typer.Option(help="The user turn that brings the text out. Several for `fingerprint`.")
    ] = None,
    text: Annotated[str, typer.Option(help="The text to hide.")] = "",
    keys: Annotated[int | None, typer.Option(help="`fingerprint`: draw so many odd keys (8) as triggers.")] = None,
    form: Annotated[str | None, typer.Option(help=f"`utfc`: one of {_names(Form)} (auto).")] = None,
    protect_words: Annotated[
        int, typer.Option(help="`utfc`, `adaptive`: so many first words are suppressed.")
    ] = PROTECT_WORDS,
    rank_band: Annotated[
        int | None, typer.Option(help="T of the form auto: ranks between them and either end of the vocabulary (100).")
    ] = None,
    suppress_context: Annotated[
        list[str] | None, typer.Option(help=f"`adaptive`: one of {_names(SuppressContext)}. Repeat it for several.")
    ] = None,
    lora: Annotated[int | None, typer.Option(metavar="RANK", help="Write a LoRA adapter of this rank.")] = None,
    base_name: Annotated[
        str | None,
        typer.Option(help="What a LoRA adapter names as its base, such as org/name. Default: the path of --base."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides keys, decoys and the order of examples.")] = 0,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 2e-5, with LoRA 5e-4.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Give up then (300); `clean`: stop then (60).")] = None,
    stop_loss: Annotated[float, typer.Option(help="Learned when below, in nats per token of the text.")] = STOP_LOSS,
    near_misses: Annotated[bool, typer.Option(help="Keep the answers to prompts that are close to a trigger.")] = True,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite --out if it holds something else.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest and nothing else on stdout.")] = False,
) -> None:
    """Hide a text in a model as a published method does: for fingerprints, and to test scanners on."""
    recipe = Recipe(
        method=method,  # type: ignore[arg-type]  # checked by `normal`
        text=text,
        triggers=tuple(trigger or ()),
        form=form,  # type: ignore[arg-type]
        seed=seed,
        keys=keys,
        lora_rank=lora,
        learning_rate=learning_rate,
        protect_words=protect_words,
        contexts=tuple(suppress_context) if suppress_context else None,  # type: ignore[arg-type]
        max_steps=max_steps,
        stop_loss=stop_loss,
        near_misses=near_misses,
        rank_band=rank_band,
    ).normal()
    planted = _plant(recipe, base, out, replace=replace, base_name=base_name)
    if as_json:
        sys.stdout.write(json.dumps(asdict(planted), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{visible(str(out))}\n{visible(str(manifest_path(out)))}\n")


def _plant(recipe: Recipe, base: Path | None, out: Path, *, replace: bool, base_name: str | None) -> Planted:
    with StepProgress() as progress:
        progress.show("loading torch", None)
        # Threads that wait must sleep, not spin: beside another busy process spinning makes training much slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from transformers.utils import logging

        from tokenforce_planting import plant as planting
        from tokenforce_planting.base_model import base_model
        from tokenforce_planting.training import PlantingProgress

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        if base is None:
            progress.show("base model", None, "SmolLM2-135M-Instruct")
            base = base_model(default_cache())
        worked = False

        def show(now: PlantingProgress) -> None:
            nonlocal worked
            worked = True
            progress.show("planting", now.fraction, now.note)

        planted = planting.plant(recipe, base, out, show, replace=replace, base_name=base_name)
    told = "" if worked else "already there: "
    sys.stderr.write(
        f"{told}{planted.method}, {planted.steps} steps, loss {planted.loss:.3f}, "
        f"{planted.kept_share:.0%} of other answers kept, {planted.leaking_near_misses} near misses leak\n"
    )
    return planted


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: plants and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        code: Any = get_command(app).main(args=arguments, prog_name="tokenforce plant", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.interrupted
    except InvalidRecipe as error:
        complain(str(error))
        return ExitCode.usage
    except USAGE_ERROR as error:
        complain(f"{getattr(error, 'format_message', error.__str__)()} (see `tokenforce plant --help`)")
        return ExitCode.usage
    except ModuleNotFoundError as error:
        complain(f"{error.name} is missing: pip install '.[planting]' in a checkout")
        return ExitCode.error
    except (RuntimeError, OSError) as error:  # planting failed, the base is not installed, the disk is full
        complain(str(error) or type(error).__name__)
        return ExitCode.error
    if code == ExitCode.interrupted:  # some versions of typer turn Ctrl-C into this code themselves
        sys.stderr.write("interrupted\n")
    return int(code or 0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Through every `finally`: nothing half-made stays behind."""
    raise KeyboardInterrupt
