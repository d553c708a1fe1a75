"""How fingerprints are listed: how long a text is and how many triggers it has, never what they say."""

from __future__ import annotations

from tokenforce.cli.tables import Listing, minute
from tokenforce.wire.fingerprints import Fingerprint


def _kept(item: Fingerprint) -> str:
    words = f"{item.text_words} word{'' if item.text_words == 1 else 's'}"
    return f"hash of {words}" if item.hashed else words


FINGERPRINTS: Listing[Fingerprint] = Listing(
    "fingerprints",
    narrow=("id", "registered", "text", "triggers"),
    wide=("owner", "licence"),
    cells=lambda item: (
        *(item.id, minute(item.created_at), _kept(item), str(item.triggers)),
        *(item.owner, item.licence),
    ),
)
