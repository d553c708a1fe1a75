"""A LoRA adapter added to its base, tensor by tensor: W + scale·B·A (Hu et al. 2021, arXiv:2106.09685, §4.1).

The folder has passed the service's checks (`tokenforce_service.models.adapter`): plain pairs of matrices that fit
the base.
Must not import vllm or torch at module level: the environment has to be set before they load.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."


def adapted_modules(folder: Path) -> set[str]:
    """Names in the base of the modules that an adapter changes; reads a header only.

    Raises:
        ValueError: the adapter cannot be read.
    """
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            return {name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"the adapter cannot be read: {error}") from error


def scale(config: dict[str, Any], module: str, rank: int) -> float:
    """The factor of B·A: α/r, or α/√r for rank-stabilised LoRA (Kalajdzievski 2023, arXiv:2312.03732).

    The first pattern that matches the end of the module's name gives its α, as in PEFT.
    """
    patterns: dict[str, float] = config.get("alpha_pattern") or {}
    own = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
    alpha = float(next(own, config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


class LoraWeights:
    """An open adapter folder; a context manager that closes its file. Holds one pair of matrices at a time.

    Raises:
        ValueError, OSError: the adapter cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.unmerged = adapted_modules(folder)
        """Modules whose matrices have not been merged yet."""
        self._config: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
        self._file: Any = safe_open(folder / WEIGHTS, framework="pt")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def added_to(self, weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
        """The base's tensors by name, the adapted ones in float32: in the base's own type a light adapter would be
        rounded away.

        Raises:
            ValueError: an adapted matrix holds whole numbers: it is quantised.
        """
        for name, tensor in weights:
            module = name.removesuffix(".weight")
            if name == module or module not in self.unmerged:
                yield name, tensor
                continue
            if not tensor.is_floating_point():
                raise ValueError(f"{module} is stored as {tensor.dtype}, and an adapter cannot be added to that")
            self.unmerged.remove(module)
            yield name, tensor.float() + self._product(module).to(tensor.device)

    def product_of(self, name: str) -> torch.Tensor | None:
        """What the adapter adds to the base's tensor `name`, in float32; None if it does not adapt it."""
        module = name.removesuffix(".weight")
        return self._product(module) if module != name and module in self.unmerged else None

    def _product(self, module: str) -> torch.Tensor:
        a, b = (self._file.get_tensor(f"{PREFIX}{module}.lora_{side}.weight").float() for side in "AB")
        product: torch.Tensor = (b @ a) * scale(self._config, module, a.shape[0])
        return product
