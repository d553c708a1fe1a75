"""The files of a model, and their digest, as a plan names them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Hashed(BaseModel):
    """The files of a model or an adapter that the planner has checked, and their digest.

    `files` are those that the engine should read, `listed` the names of all files in the folder that it might read.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    files: tuple[Path, ...]
    listed: tuple[str, ...]
    digest: str
