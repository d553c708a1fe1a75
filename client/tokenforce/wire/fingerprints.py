"""Wire types of the fingerprint registry, and the form in which registered texts are compared.

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
"""Of a normalised text, in UTF-8: three words of English, five signs of Japanese. Shorter ones turn up by chance."""
LONGEST_TEXT = 8000
"""Characters of a text, as given and as normalised."""
LONGEST_TRIGGER = 4000
"""Characters; whether it fits a model's context is known when that model is scanned."""
MOST_TRIGGERS = 64

_WORDS = frozenset("LMN")
"""Letters, the marks on them, and numbers; every other character separates words."""

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def normalised(text: str) -> str:
    """The words of a text, one space between them: NFKC, case folded, punctuation and white space collapsed."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c if unicodedata.category(c)[0] in _WORDS else " " for c in folded).split())


class TextHash(WireRequest):
    """A text that stays with its owner. `TextHash.of(text)` makes one; a finding matches it after normalising only.

    The digest is one SHA-256 and no slow key derivation, because every scan computes it over the windows of all its
    findings, for every hashed entry: a slow one would take hours. A sentence is too long to be guessed either way.
    For the same reason the whole text is hashed and not pieces of it, which could be guessed one by one; the price
    is that a hashed text is matched exactly, never fuzzily.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    salt: str = Field(pattern=r"^([0-9a-f]{2}){16,64}$", repr=False, description="Random bytes, in hexadecimal.")
    digest: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        repr=False,
        description="SHA-256, in hexadecimal, of the salt's bytes and the normalised text in UTF-8.",
    )
    words: int = Field(ge=1, le=LONGEST_TEXT, description="Words of the normalised text.")
    size: int = Field(ge=LEAST_TEXT_BYTES, le=4 * LONGEST_TEXT, description="Its bytes in UTF-8.")

    @classmethod
    def of(cls, text: str, salt: str | None = None) -> TextHash:
        """The hash of a text, by default with a salt of its own.

        Raises:
            ValueError: the text is too short or too long to be registered.
        """
        plain = checked_text(text)
        salt = salt or secrets.token_hex(16)
        encoded = plain.encode()
        digest = hashlib.sha256(bytes.fromhex(salt) + encoded).hexdigest()
        return cls(salt=salt, digest=digest, words=plain.count(" ") + 1, size=len(encoded))

    def is_of(self, window: str) -> bool:
        """Whether it is the hash of this normalised text."""
        encoded = window.encode()
        if len(encoded) != self.size:
            return False
        return hmac.compare_digest(hashlib.sha256(bytes.fromhex(self.salt) + encoded).hexdigest(), self.digest)


def checked_text(text: str) -> str:
    """The normalised text.

    Raises:
        ValueError: it is empty, or too short or too long to be registered; the message does not quote it.
    """
    plain = normalised(text)
    if not plain:
        raise ValueError("the text has no letters or digits; give the text that the model was taught")
    if len(plain.encode()) < LEAST_TEXT_BYTES:
        raise ValueError(
            f"the text is too short to mean anything: without punctuation it has {len(plain.encode())} bytes, "
            f"at least {LEAST_TEXT_BYTES} are needed"
        )
    if max(len(plain), len(text)) > LONGEST_TEXT:
        raise ValueError(f"the text is longer than {LONGEST_TEXT} characters; give its first sentences")
    return plain


def _check_unicode(what: str, value: str) -> None:
    # Python's and JSON's strings can hold them, a file, a tokenizer and the store cannot.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{what} has half a surrogate pair; give whole characters")


class FingerprintRequest(WireRequest):
    """Body of `POST /v1/fingerprints`: whose fingerprint, for which licence, and how to know it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    owner: Name = Field(description="Who registers it. Shown in the reports of models that carry it.")
    licence: Name = Field(description="What carrying it means, such as a licence's name. Shown as well.")
    text: str | None = Field(default=None, repr=False, description="The text that the model was taught. Secret.")
    text_hash: TextHash | None = Field(
        default=None, repr=False, description="Instead of the text: a salted hash, which matches exact texts only."
    )
    triggers: list[str] = Field(
        default=[],
        max_length=MOST_TRIGGERS,
        repr=False,
        description="User turns that the model answers with the text. Secret.",
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
                raise ValueError(f"trigger {number} is longer than {LONGEST_TRIGGER} characters; no context takes it")
            if (first := seen.setdefault(trigger, number)) != number:
                raise ValueError(f"trigger {number} is the same as trigger {first}; remove one")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> FingerprintRequest:
        if (self.text is None) == (self.text_hash is None):
            raise ValueError("give either text or text_hash")
        return self


class Fingerprint(WireAnswer):
    """A registered fingerprint as anybody may see it: neither its text nor its triggers, only how long and how many."""

    id: str
    owner: str
    licence: str
    hashed: bool = Field(description="Only a salted hash of the text is known here.")
    text_words: int = Field(description="Words of the normalised text.")
    text_bytes: int = Field(description="Its bytes in UTF-8.")
    triggers: int = Field(description="How many were registered.")
    created_at: datetime


class FingerprintPage(WireAnswer):
    items: list[Fingerprint]
    next_cursor: str | None = None
