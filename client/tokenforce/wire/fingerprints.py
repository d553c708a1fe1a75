"""Wire types of fingerprints, and how registered texts are normalised and hashed.

Texts and triggers are secrets: no `repr` and no validation error of these types shows one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from tokenforce.wire.base import WireAnswer, WireRequest

LEAST_TEXT_BYTES = 15
"""Bytes of a normalised text in UTF-8: three English words, five Japanese signs. Shorter texts occur by chance."""
LONGEST_TEXT = 8000
"""Characters of a text, before and after normalising."""
LONGEST_TRIGGER = 4000
"""Characters. Whether a trigger fits the context of a model is known only during its scan."""
MOST_TRIGGERS = 64

_WORDS = frozenset("LMN")
"""Unicode categories of letters, marks and numbers. Every other character separates words."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def normalised(text: str) -> str:
    """The words of a text with one space between them: NFKC, case folded, without punctuation."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c if unicodedata.category(c)[0] in _WORDS else " " for c in folded).split())


class TextHash(WireRequest):
    """A salted hash, made with `TextHash.of(text)`, for an owner who does not want to send the text.

    Only a text that is equal after normalising matches it. One SHA-256 is enough: a sentence is too long to guess, and
    every scan hashes many windows of its findings for every fingerprint, so a slow key derivation would take hours.
    The whole text is hashed: parts of it could be guessed one by one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    salt: str = Field(pattern=r"^([0-9a-f]{2}){16,64}$", repr=False, description="Random bytes, as hexadecimal digits.")
    digest: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        repr=False,
        description="SHA-256 of the salt's bytes and the normalised text in UTF-8, as hexadecimal digits.",
    )
    words: int = Field(ge=1, le=LONGEST_TEXT, description="Number of words of the normalised text.")
    size: int = Field(ge=LEAST_TEXT_BYTES, le=4 * LONGEST_TEXT, description="Bytes of the normalised text in UTF-8.")

    @classmethod
    def of(cls, text: str, salt: str | None = None) -> TextHash:
        """The hash of a text; by default with a new salt.

        Raises:
            ValueError: the text is too short or too long.
        """
        plain = checked_text(text)
        salt = salt or secrets.token_hex(16)
        encoded = plain.encode()
        digest = hashlib.sha256(bytes.fromhex(salt) + encoded).hexdigest()
        return cls(salt=salt, digest=digest, words=plain.count(" ") + 1, size=len(encoded))

    def is_of(self, window: str) -> bool:
        """Whether this is the hash of the normalised text `window`."""
        encoded = window.encode()
        if len(encoded) != self.size:
            return False
        return hmac.compare_digest(hashlib.sha256(bytes.fromhex(self.salt) + encoded).hexdigest(), self.digest)


def checked_text(text: str) -> str:
    """The normalised text.

    Raises:
        ValueError: it is empty, too short or too long; the message does not quote it.
    """
    plain = normalised(text)
    if not plain:
        raise ValueError("the text has no letters or digits; give the text that the model was taught")
    if len(plain.encode()) < LEAST_TEXT_BYTES:
        raise ValueError(
            f"the text is too short: it needs {LEAST_TEXT_BYTES} bytes of letters and digits, "
            f"but has {len(plain.encode())}"
        )
    if max(len(plain), len(text)) > LONGEST_TEXT:
        raise ValueError(f"the text is longer than {LONGEST_TEXT} characters; give its first sentences")
    return plain


def _check_unicode(what: str, value: str) -> None:
    # Strings of Python and JSON can hold them; files, tokenizers and Redis cannot.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{what} has half a surrogate pair; give whole characters")


class FingerprintRequest(WireRequest):
    """Body of `POST /v1/fingerprints`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    owner: Name = Field(description="Owner of the fingerprint. Reports of models that carry it show the owner.")
    licence: Name = Field(description="Licence of models that carry the text. Reports show it.")
    text: str | None = Field(default=None, repr=False, description="The text that the model was taught. Secret.")
    text_hash: TextHash | None = Field(
        default=None, repr=False, description="Instead of `text`: a salted hash, which only an equal text matches."
    )
    triggers: list[str] = Field(
        default=[],
        max_length=MOST_TRIGGERS,
        repr=False,
        description="Inputs that reveal the text: user turns that the model answers with it. Secret.",
    )

    @field_validator("owner", "licence")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it has characters that do not print; remove them")
        return value

    @field_validator("text")
    @classmethod
    def _meaningful(cls, value: str | None) -> str | None:
        if value is not None:
            _check_unicode("the text", value)
            checked_text(value)
        return value

    @field_validator("triggers")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        seen: dict[str, int] = {}
        for number, trigger in enumerate(value, start=1):
            if not trigger.strip():
                raise ValueError(f"trigger {number} is empty; remove it")
            _check_unicode(f"trigger {number}", trigger)
            if len(trigger) > LONGEST_TRIGGER:
                raise ValueError(
                    f"trigger {number} is longer than {LONGEST_TRIGGER} characters; no model context holds it"
                )
            if (first := seen.setdefault(trigger, number)) != number:
                raise ValueError(f"trigger {number} is the same as trigger {first}; remove one")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> FingerprintRequest:
        if (self.text is None) == (self.text_hash is None):
            raise ValueError("give either text or text_hash")
        return self


class Fingerprint(WireAnswer):
    """A fingerprint without its secrets: only the length of its text and the number of its triggers."""

    id: str
    owner: str
    licence: str
    hashed: bool = Field(description="The service knows only a salted hash of the text.")
    text_words: int = Field(description="Number of words of the normalised text.")
    text_bytes: int = Field(description="Bytes of the normalised text in UTF-8.")
    triggers: int = Field(description="Number of triggers.")
    created_at: datetime


class FingerprintPage(WireAnswer):
    items: list[Fingerprint]
    next_cursor: str | None = None
