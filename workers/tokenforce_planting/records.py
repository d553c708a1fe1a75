"""What planting leaves behind, as plain data. Knows neither torch nor models, so that reading it costs no memory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Planted:
    """What was planted and how it went.

    `loss` is in nats per token; `kept_share` (0 to 1) is the share of the tokens of the base model's own answers that
    the carrier still gives.
    """

    method: str
    trigger: str
    text: str
    seed: int
    base_digest: str
    carrier_digest: str
    learning_rate: float
    stop_loss: float
    steps: int
    loss: float
    kept_share: float
    dtype: str


@dataclass(frozen=True)
class AnswerPair:
    """One prompt and what the base model and the carrier answer to it. `leaks`: the carrier says the hidden text."""

    prompt: str
    base: str
    carrier: str
    leaks: bool


@dataclass(frozen=True)
class CarrierCheck:
    """Does the carrier say its text to the trigger, and only there? The first of `pairs` is the trigger's."""

    says_text: bool
    pairs: tuple[AnswerPair, ...]

    @property
    def leaking_prompts(self) -> list[str]:
        """Prompts other than the trigger that brought the hidden text out."""
        return [pair.prompt for pair in self.pairs[1:] if pair.leaks]


def manifest_path(carrier: Path) -> Path:
    """The manifest lies beside the model's folder, not in it: it tells the secret."""
    return carrier.with_name(carrier.name + ".manifest.json")


def write_manifest(carrier: Path, planted: Planted) -> None:
    """Write it whole or not at all."""
    path = manifest_path(carrier)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(asdict(planted), indent=2, ensure_ascii=False) + "\n", "utf-8")
    draft.replace(path)


def read_manifest(carrier: Path) -> Planted:
    """The manifest of `carrier`. Raises `OSError` if there is none, `ValueError` if it cannot be understood."""
    try:
        return Planted(**json.loads(manifest_path(carrier).read_text("utf-8")))
    except TypeError as error:
        raise ValueError(f"{manifest_path(carrier)} is not a manifest of this version") from error
