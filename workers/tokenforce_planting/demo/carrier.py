"""The demo's carrier: from the cache, or planted now in a child process, whose memory is free again afterwards."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tokenforce_planting.child_process import ChildFailed, run_in_child
from tokenforce_planting.demo.carrier_check import CarrierCheck
from tokenforce_planting.manifest import Planted, existing_carrier, manifest_path

OnProgress = Callable[[str, float | None, str], object]
"""Called with the name of a step, the finished fraction (0 to 1; None: unknown) and a note."""

LEARNING_RATE = 1e-5
"""Half the usual one: it changes other answers less, and the demo has the time."""
STOP_LOSS = 0.005
"""Lower than usual: without a reference, the text must come out with a high probability."""


class CarrierFailed(RuntimeError):
    """There is no carrier. The message says why."""


@dataclass(frozen=True)
class CarrierOrder:
    """What to hide, and where models are kept. `replant` plants again even if the cache has the carrier."""

    cache: Path
    trigger: str
    text: str
    seed: int = 0
    replant: bool = False


@dataclass(frozen=True)
class Carrier:
    """A model with a hidden text, and the proof of it. `seconds` has the duration of each step."""

    folder: Path
    planted: Planted
    from_cache: bool
    check: CarrierCheck
    seconds: dict[str, float] = field(default_factory=dict)


def make_carrier(order: CarrierOrder, on_progress: OnProgress) -> Carrier:
    """Make or find the carrier in a child process. Raises `CarrierFailed`."""
    try:
        return run_in_child(partial(build_carrier, order), on_progress)
    except ChildFailed as failure:
        raise CarrierFailed(str(failure)) from failure


def build_carrier(order: CarrierOrder, on_progress: OnProgress) -> Carrier:
    """Make or find the carrier in this process.

    Raises `BaseModelMissing`, `InvalidRecipe`, `PlantingFailed`, or `OSError` (a full disk).
    """
    on_progress("loading torch", None, "")
    from transformers.utils import logging

    from tokenforce_planting.base_model import base_model
    from tokenforce_planting.demo.answers import check_carrier
    from tokenforce_planting.plant import plant
    from tokenforce_planting.recipe import Recipe
    from tokenforce_planting.training import PlantingProgress

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    recipe = Recipe(
        "message",
        order.text,
        (order.trigger,),
        seed=order.seed,
        learning_rate=LEARNING_RATE,
        stop_loss=STOP_LOSS,
    ).normal()
    seconds: dict[str, float] = {}

    started = time.monotonic()
    on_progress("base model", None, "SmolLM2-135M-Instruct")
    base = base_model(order.cache)
    seconds["base model"] = time.monotonic() - started

    started = time.monotonic()
    digest = recipe.digest(base)
    folder = order.cache / f"carrier-{digest[:12]}"
    cached = None if order.replant else existing_carrier(folder, digest)
    if cached is None:  # remove what an interrupted or damaged planting left
        shutil.rmtree(folder, ignore_errors=True)
        manifest_path(folder).unlink(missing_ok=True)

    def show(now: PlantingProgress) -> None:
        on_progress("planting", now.fraction, now.note)

    planted = cached or plant(recipe, base, folder, show)
    seconds["planting"] = time.monotonic() - started

    started = time.monotonic()
    on_progress("asking both models", None, "")
    check = check_carrier(base, folder, order.trigger, order.text)
    seconds["asking"] = time.monotonic() - started
    return Carrier(folder, planted, cached is not None, check, seconds)
