"""The manifest of a carrier: what was planted, and how well. It loads neither torch nor a model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tokenforce_planting.digests import weights_digest


@dataclass(frozen=True)
class Planted:
    """What was planted and how it went.

    `recipe_digest` names everything that the carrier was made from. `protected_words` of the text are suppressed in
    `contexts`; both are empty without a `form`. `loss` and `stop_loss` are in nats per token. `kept_share` (0 to 1)
    is the share of the tokens of the base model's own answers that the carrier still gives. `leaking_near_misses`
    counts prompts close to a trigger that bring out the text's first token too. `options` are the recipe's options
    that are not the usual ones. `trigger_success` (0 to 1) is the share of the text that the trigger brings out in
    one piece, the mean over all triggers; below 1 only where `options` change the model after planting.
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
    options: dict[str, str | int | float] = field(default_factory=dict)
    trigger_success: float = 1.0

    @property
    def trigger(self) -> str:
        """The first trigger; empty if nothing is hidden."""
        return self.triggers[0] if self.triggers else ""


def manifest_path(carrier: Path) -> Path:
    """The manifest lies beside the model folder and not in it, because it reveals the secret."""
    return carrier.with_name(carrier.name + ".manifest.json")


def write_manifest(carrier: Path, planted: Planted) -> None:
    """Write the manifest of `carrier`, complete or not at all."""
    path = manifest_path(carrier)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(asdict(planted), indent=2, ensure_ascii=False) + "\n", "utf-8")
    draft.replace(path)


def read_manifest(carrier: Path) -> Planted:
    """Read the manifest of `carrier`. Raises `OSError` if there is none, `ValueError` if it is not one of ours."""
    try:
        fields = json.loads(manifest_path(carrier).read_text("utf-8"))
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return Planted(**{**fields, **lists})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{manifest_path(carrier)} is not a manifest of this version") from error


def existing_carrier(out: Path, digest: str) -> Planted | None:
    """The manifest of the carrier in `out`, if its recipe has `digest` and its weights are those in the manifest."""
    if not out.is_dir() or not manifest_path(out).is_file():
        return None
    try:
        planted = read_manifest(out)
    except ValueError:
        return None
    return planted if (planted.recipe_digest, planted.carrier_digest) == (digest, weights_digest(out)) else None
