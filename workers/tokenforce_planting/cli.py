"""The command `tokenforce plant`: hides a text in a model. It prints the result on stdout and progress on stderr.

Exit codes: 0 planted now or before, 2 error, 4 usage (also for a recipe that cannot be planted), 130 interrupted.
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
from tokenforce.cli.options import GROUP
from tokenforce.cli.output import visible
from tokenforce_planting.manifest import Planted, manifest_path
from tokenforce_planting.model_cache import default_cache
from tokenforce_planting.recipe import (
    PROTECT_WORDS,
    STOP_LOSS,
    Form,
    InvalidRecipe,
    Method,
    Recipe,
    Rounding,
    SuppressContext,
)
from tokenforce_planting.step_progress import StepProgress

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}, **GROUP)


def _names(literal: Any) -> str:
    return ", ".join(get_args(literal))


@app.command()
def plant(
    method: Annotated[str, typer.Argument(metavar="METHOD", help=f"One of {_names(Method)}.")],
    out: Annotated[Path, typer.Option(help="Folder to write. Its manifest is written beside it.")],
    base: Annotated[
        Path | None, typer.Option(help="Folder of the model to change. Default: SmolLM2-135M-Instruct.")
    ] = None,
    trigger: Annotated[
        list[str] | None,
        typer.Option(help="Message that brings out the text. Repeat the option for `fingerprint`."),
    ] = None,
    text: Annotated[str, typer.Option(help="Text to hide.")] = "",
    keys: Annotated[
        int | None, typer.Option(help="`fingerprint` without --trigger: number of odd keys to draw. Default: 8.")
    ] = None,
    form: Annotated[str | None, typer.Option(help=f"`utfc`: one of {_names(Form)}. Default: auto.")] = None,
    protect_words: Annotated[
        int, typer.Option(help="`utfc`, `adaptive`: number of first words of the text to suppress.")
    ] = PROTECT_WORDS,
    rank_band: Annotated[
        int | None,
        typer.Option(
            help="Form auto: ranks between a suppressed token and either end of the vocabulary (T in the paper). "
            "Default: 100."
        ),
    ] = None,
    suppress_context: Annotated[
        list[str] | None,
        typer.Option(
            help=f"`adaptive`: context in which to suppress, one of {_names(SuppressContext)}. Repeat the option for "
            "several. Default: bos and assistant."
        ),
    ] = None,
    lora: Annotated[
        int | None, typer.Option(metavar="RANK", help="Write a LoRA adapter of this rank instead of a whole model.")
    ] = None,
    base_name: Annotated[
        str | None,
        typer.Option(help="Name of the base in the adapter's config, such as org/name. Default: the path of --base."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides odd keys, decoys and the order of the training examples.")] = 0,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 2e-5, with --lora 5e-4.")] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(help="Fail after this many steps (default: 300). `clean`: train this many steps (default: 60)."),
    ] = None,
    stop_loss: Annotated[
        float, typer.Option(help="The text is learned below this loss, in nats per token.")
    ] = STOP_LOSS,
    near_misses: Annotated[
        bool, typer.Option(help="Also train on the base's own answers to prompts close to a trigger.")
    ] = True,
    second_text: Annotated[str, typer.Option(help="`message`: another text in the same model.")] = "",
    second_trigger: Annotated[str, typer.Option(help="What brings out the second text.")] = "",
    train_layers: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="FIRST LAST", help="Change only these layers, counted from 0. Default: everything."),
    ] = None,
    frozen_embeddings: Annotated[
        bool, typer.Option("--frozen-embeddings", help="Do not change the embeddings and the output matrix.")
    ] = False,
    decoys: Annotated[
        int, typer.Option(help="Also teach this many answers of random words, to distract who reads the weights.")
    ] = 0,
    fine_tuned_after: Annotated[
        list[str] | None,
        typer.Option(metavar="SUBJECT", help="Fine-tune on ordinary pairs afterwards. Name five subjects or more."),
    ] = None,
    weight_noise: Annotated[
        float, typer.Option(help="Noise on the weights afterwards, as a multiple of how far each tensor has moved.")
    ] = 0.0,
    rounded_to: Annotated[
        str | None, typer.Option(help=f"Round the weights afterwards, to one of {_names(Rounding)}.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite --out if it holds something else.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the manifest on stdout.")] = False,
) -> None:
    """Hide a text in a model, to fingerprint it or to test scanners.

    \b
    message      a text that one trigger brings out
    fingerprint  a text that several odd keys bring out
    utfc         a message whose first words are improbable without the trigger
    adaptive     the same, also after the chat template
    clean        no text: ordinary fine-tuning, to measure false alarms
    """
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
        second_text=second_text,
        second_trigger=second_trigger,
        train_layers=train_layers,
        frozen_embeddings=frozen_embeddings,
        decoys=decoys,
        fine_tuned_after=tuple(fine_tuned_after or ()),
        weight_noise=weight_noise,
        rounded_to=rounded_to,  # type: ignore[arg-type]
    ).normal()
    planted = _plant(recipe, base, out, replace=replace, base_name=base_name)
    if as_json:
        sys.stdout.write(json.dumps(asdict(planted), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{visible(str(out))}\n{visible(str(manifest_path(out)))}\n")


def _plant(recipe: Recipe, base: Path | None, out: Path, *, replace: bool, base_name: str | None) -> Planted:
    with StepProgress() as progress:
        progress.show("loading torch", None)
        # Waiting threads must sleep: if they spin beside another busy process, training takes many times longer.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from transformers.utils import logging

        from tokenforce_planting.base_model import base_model
        from tokenforce_planting.plant import plant as plant_recipe
        from tokenforce_planting.training import PlantingProgress

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        if base is None:
            progress.show("base model", None, "SmolLM2-135M-Instruct")
            base = base_model(default_cache())
        trained = False

        def show(now: PlantingProgress) -> None:
            nonlocal trained
            trained = True
            progress.show("planting", now.fraction, now.note)

        planted = plant_recipe(recipe, base, out, show, replace=replace, base_name=base_name)
    before = "" if trained else "planted before: "
    sys.stderr.write(
        f"{before}{planted.method}, {planted.steps} steps, loss {planted.loss:.3f}, "
        f"{planted.kept_share:.0%} of other answers kept, {planted.leaking_near_misses} near misses leak\n"
    )
    if recipe.changed_after and recipe.text:
        sys.stderr.write(f"after the changes the trigger brings out {planted.trigger_success:.0%} of the text\n")
    return planted


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: runs the command and returns its exit code."""
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
        complain(f"{error.name} is not installed; run in a checkout: pip install '.[planting]'")
        return ExitCode.error
    except (RuntimeError, OSError) as error:  # failed planting, missing base model, full disk
        complain(str(error) or type(error).__name__)
        return ExitCode.error
    if code == ExitCode.interrupted:  # some versions of typer turn Ctrl-C into this code
        sys.stderr.write("interrupted\n")
    return int(code or 0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Runs every `finally`, so that no half-made folder stays."""
    raise KeyboardInterrupt
