"""Bearer tokens: `tf_<id>_<secret>`. The id names the key, the secret proves it."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from typing import NamedTuple

ALPHABET = string.ascii_letters + string.digits
ID_LENGTH = 16
SECRET_LENGTH = 43
"""log2(62) bits per character: 256 bits in all, as many as the digest has."""
KEY_ID = re.compile(rf"[A-Za-z0-9]{{{ID_LENGTH}}}")
_TOKEN = re.compile(rf"tf_({KEY_ID.pattern})_([A-Za-z0-9]{{{SECRET_LENGTH}}})")


class Token(NamedTuple):
    """The two parts of a token. `str()` gives the token itself; `repr` hides the secret."""

    key_id: str
    secret: str

    def __str__(self) -> str:
        return f"tf_{self.key_id}_{self.secret}"

    def __repr__(self) -> str:
        return f"Token({self.key_id!r}, …)"


def new_token(key_id: str | None = None) -> Token:
    return Token(key_id or _random(ID_LENGTH), _random(SECRET_LENGTH))


def parse(text: str) -> Token | None:
    """The parts of a token; None if the text is not one."""
    found = _TOKEN.fullmatch(text)
    return Token(*found.groups()) if found else None


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal. A random secret of 256 bits cannot be guessed, so it needs no salt and no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
