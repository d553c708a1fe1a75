"""A carrier from the cache, or planted now, in a process of its own: what training needs is freed when it ends."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tokenforce_planting.child import ChildFailed, Send, run_in_child
from tokenforce_planting.records import CarrierCheck, Planted, existing_carrier, manifest_path

OnProgress = Callable[[str, float | None, str], None]
"""Called with a step's name, the fraction of it that is done (None: unknown) and a note."""

LEARNING_RATE = 1e-5
"""Half the usual one: gentler on other answers, and the demo has the time."""
STOP_LOSS = 0.005
"""Firmer than usual: the demo's scan has no reference, so the text must come out surely by itself."""


class CarrierFailed(RuntimeError):
    """There is no carrier, and the message says why."""


@dataclass(frozen=True)
class CarrierOrder:
    """What to hide, and where models are kept. `replant` makes the carrier anew even if it is there."""

    cache: Path
    trigger: str
    text: str
    seed: int = 0
    replant: bool = False


@dataclass(frozen=True)
class Carrier:
    """A model with a hidden text, and the evidence for it. `seconds` tells what each step took."""

    folder: Path
    planted: Planted
    from_cache: bool
    check: CarrierCheck
    seconds: dict[str, float] = field(default_factory=dict)


def make_carrier(order: CarrierOrder, on_progress: OnProgress) -> Carrier:
    """Make or find the carrier in a child process. Raises `CarrierFailed`."""
    try:
        return run_in_child(partial(_build, order), lambda event: on_progress(*event))
    except ChildFailed as failure:
        raise CarrierFailed(str(failure)) from failure


def _build(order: CarrierOrder, send: Send) -> Carrier:
    return build_carrier(order, lambda *event: send(event))


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
    there = None if order.replant else existing_carrier(folder, digest)
    if there is None:  # nothing half-made or spoilt may be in the way
        shutil.rmtree(folder, ignore_errors=True)
        manifest_path(folder).unlink(missing_ok=True)

    def show(now: PlantingProgress) -> None:
        on_progress("planting", now.fraction, now.note)

    planted = there or plant(recipe, base, folder, show)
    seconds["planting"] = time.monotonic() - started

    started = time.monotonic()
    on_progress("asking base and carrier", None, "")
    check = check_carrier(base, folder, order.trigger, order.text)
    seconds["asking"] = time.monotonic() - started
    return Carrier(folder, planted, there is not None, check, seconds)
