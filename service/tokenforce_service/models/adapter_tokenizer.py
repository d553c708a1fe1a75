"""A tokenizer that an adapter brings along must speak of the base's embedding: an adapter changes no row of it."""

from __future__ import annotations

from collections.abc import Mapping

from tokenforce_service.models.adapter_targets import unusable


def check_vocabulary(own: Mapping[str, int], base: Mapping[str, int], rows: int) -> None:
    """Tokens may be added or renamed within the base's embedding; those of the base keep their ids.

    Args:
        own, base: token → id of the adapter's and of the base's tokenizer.
        rows: of the base's embedding matrix.

    Raises:
        Refusal: `adapter_mismatch`.
    """
    beyond = sorted((i, token) for token, i in own.items() if i >= rows)
    if beyond:
        i, token = beyond[0]
        raise unusable(
            f"its tokenizer has {len(beyond)} tokens beyond the {rows} rows of the base's embedding, such as "
            f"{token[:40]!r} with the id {i}"
        )
    moved = sorted((i, token) for token, i in own.items() if base.get(token, i) != i)
    if moved:
        i, token = moved[0]
        raise unusable(
            f"its tokenizer gives {len(moved)} tokens of the base other ids, such as {token[:40]!r} the id {i} instead "
            f"of {base[token]}"
        )
