"""What all wire types share.

Requests forbid unknown fields, so that a misspelt option is an error and not a silent default.
Answers ignore them, so that an old SDK lives through a newer service.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class WireRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WireAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
