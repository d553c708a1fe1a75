"""The two base classes of all wire types.

Requests forbid unknown fields: a misspelt option is an error, not a silent default.
Answers ignore unknown fields: an old SDK works with a newer service.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

_NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)


class WireRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WireAnswer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


def _written_out(value: object) -> object:
    """Refuses numbers, which pydantic reads as seconds or, if large, milliseconds since 1970."""
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        raise ValueError("this is a number; write a time such as 2026-11-23T09:30:00Z")
    return value


WrittenOut = BeforeValidator(_written_out)
"""For times in requests. They are written as RFC 3339, as the OpenAPI document says."""
Moment = Annotated[datetime, WrittenOut]
