"""What planting leaves behind, as plain data. Knows neither torch nor models, so that reading it costs no memory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tokenforce_planting.artefact import weights_digest


@dataclass(frozen=True)
class Planted:
    """What was planted and how it went: the manifest.

    `recipe_digest` names all that the carrier was made from. `contexts` and `protected_words`: where which words of
    the text are suppressed (none: `form` is None). `loss` is in nats per token; `kept_share` (0 to 1) is the share of
    the tokens of the base model's own answers that the carrier still gives; `leaking_near_misses` of the prompts close
    to a trigger bring the text's first token out as well.
    """

    method: str
    form: str | None
    triggers: tuple[str, ...]
    text: str
    seed: int
    recipe_digest: str
    base_digest: str
    carrier_digest: str
    lora_rank: int | None
    protected_words: tuple[str, ...]
    contexts: tuple[str, ...]
    learning_rate: float
    stop_loss: float
    steps: int
    loss: float
    kept_share: float
    leaking_near_misses: int
    dtype: str = "float32"

    @property
    def trigger(self) -> str:
        """The first of the triggers; empty if nothing is hidden."""
        return self.triggers[0] if self.triggers else ""


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
        fields = json.loads(manifest_path(carrier).read_text("utf-8"))
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return Planted(**{**fields, **lists})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{manifest_path(carrier)} is not a manifest of this version") from error


def existing_carrier(out: Path, digest: str) -> Planted | None:
    """The manifest of the carrier in `out`, if its recipe has `digest` and its weights are those of the manifest."""
    if not out.is_dir() or not manifest_path(out).is_file():
        return None
    try:
        planted = read_manifest(out)
    except ValueError:
        return None
    return planted if (planted.recipe_digest, planted.carrier_digest) == (digest, weights_digest(out)) else None
