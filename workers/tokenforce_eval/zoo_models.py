"""The zoo's models on disk: from the cache, or planted now, each in a child process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tokenforce_eval.specimens import Base, Specimen
from tokenforce_planting.base_model import base_model
from tokenforce_planting.child_process import ChildFailed, Send, run_in_child
from tokenforce_planting.digests import weights_digest
from tokenforce_planting.manifest import existing_carrier
from tokenforce_planting.small_base import STEPS, small_base

OnProgress = Callable[[str, float | None, str], None]
"""Called with the name of a specimen, the finished fraction (0 to 1; None: unknown) and a note."""


class ZooIncomplete(RuntimeError):
    """A model of the zoo could not be made. The message names it and says why."""


@dataclass(frozen=True)
class BuiltSpecimen:
    """A specimen and its folder. `digest` names everything that it was made from."""

    specimen: Specimen
    folder: Path
    digest: str

    @property
    def lora_rank(self) -> int | None:
        """None for a whole model."""
        return self.specimen.recipe.adapter_rank if self.specimen.recipe is not None else None


def build_base(cache: Path, on_progress: OnProgress, name: Base) -> Path:
    """Return the folder of an untouched base. Raises `ZooIncomplete`."""
    on_progress(f"base {name}", None, "loading")
    try:
        return run_in_child(partial(_base, cache, name), partial(on_progress, f"base {name}"))
    except ChildFailed as failure:
        raise ZooIncomplete(f"base {name}: {failure}") from failure


def build(cache: Path, base: Path, specimens: Sequence[Specimen], on_progress: OnProgress) -> list[BuiltSpecimen]:
    """Build or find every specimen, in order. Raises `ZooIncomplete`; finished models stay in the cache."""
    return [_build_one(cache, base, specimen, on_progress) for specimen in specimens]


def _build_one(cache: Path, base: Path, specimen: Specimen, on_progress: OnProgress) -> BuiltSpecimen:
    if specimen.recipe is None:
        return BuiltSpecimen(specimen, base, weights_digest(base))
    try:
        digest = specimen.recipe.digest(base)
        folder = cache / f"carrier-{digest[:12]}"
        if existing_carrier(folder, digest) is not None:
            return BuiltSpecimen(specimen, folder, digest)
        on_progress(specimen.name, None, "loading")
        run_in_child(partial(_plant, specimen, base, folder), partial(on_progress, specimen.name))
    except (ChildFailed, ValueError) as failure:
        raise ZooIncomplete(f"{specimen.name}: {failure}") from failure
    return BuiltSpecimen(specimen, folder, digest)


def _base(cache: Path, name: Base, send: Send) -> Path:
    _silence_transformers()
    if name == "docs-neox":
        return small_base(cache, lambda step, loss: send(step / STEPS, f"step {step}, loss {loss:.2f}"))
    return base_model(cache)


def _plant(specimen: Specimen, base: Path, folder: Path, send: Send) -> None:
    _silence_transformers()
    from tokenforce_planting.plant import plant

    assert specimen.recipe is not None
    plant(specimen.recipe, base, folder, lambda now: send(now.fraction, now.note), replace=True)


def _silence_transformers() -> None:
    """Our own bars show the progress. Only in the child, because transformers takes seconds to import."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
