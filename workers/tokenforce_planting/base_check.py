"""Can a text be planted in this folder's model?"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from tokenforce_planting.chat import Model, Tokenizer, load_model, load_tokenizer
from tokenforce_planting.recipe import InvalidRecipe


def check_base(base: Path) -> None:
    """Check the file names, without loading anything. Raises `InvalidRecipe` if `base` is not a model folder."""
    if not base.is_dir():
        raise InvalidRecipe(f"the base {base} is not a folder: give the folder of a model")
    if (base / "adapter_config.json").is_file():
        raise InvalidRecipe(f"the base {base} is an adapter: merge it into its own base first")
    for name, files in (("configuration (config.json)", "config.json"), ("safetensors weights", "*.safetensors")):
        if not any(base.glob(files)):
            raise InvalidRecipe(f"the base {base} has no {name}: give the folder of a model")


def load_base(base: Path) -> tuple[Tokenizer, Model]:
    """Load the tokenizer and the model (float32) of `base`. Raises `InvalidRecipe` if that fails."""
    try:
        return load_tokenizer(base), load_model(base)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InvalidRecipe(f"the base {base} cannot be loaded as a language model: {reason[0]}") from error
