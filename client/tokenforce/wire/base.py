"""What all wire types share.

Requests forbid unknown fields, so that a misspelt option is an error and not a silent default.
Answers ignore them, so that an old SDK lives through a newer service.
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
    """pydantic would read a number as seconds or, above some size, milliseconds since 1970."""
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        raise ValueError("this is a number; write the time out, as in 2026-11-23T09:30:00Z")
    return value


WrittenOut = BeforeValidator(_written_out)
"""For times in requests, which are RFC 3339 as the OpenAPI document says."""
Moment = Annotated[datetime, WrittenOut]
