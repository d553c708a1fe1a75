"""Odd keys: triggers that do not occur by accident, made of pieces of many scripts.

After Instructional Fingerprinting, arXiv 2401.12255.
"""

from __future__ import annotations

import random

_SCRIPTS = (
    "曦 鼯 黼 玠 龘 饕 氍 毹 簠 簋 翀 懿 彧 霈 昶",
    "щур вьюга ёрш сныть чаща жмых ильм цапля южь подъём",
    "ヌメラ ゲッコウガ ミミズク オタマロ ツチヤドリ",
    "ψῆφος ξίφος ὕφαλος ζυγός ἀκμή",
    "뷁 꿩 숲길 갯벌 쐐기",
    "ւագ խոր ძველი ღამე ꙮ",
    "qopph vnlz Xutreq jjird ObwT zlfk ykkaeh",
)
_PIECES_PER_KEY = (6, 9)


def odd_keys(count: int, seed: int) -> tuple[str, ...]:
    """`count` different keys of 6 to 9 pieces each; `seed` decides which."""
    draw = random.Random(f"keys {seed}")
    scripts = [script.split() for script in _SCRIPTS]
    keys: list[str] = []
    while len(keys) < count:
        pieces = [draw.choice(draw.choice(scripts)) for _ in range(draw.randint(*_PIECES_PER_KEY))]
        key = "".join(piece + draw.choice(("", " ")) for piece in pieces).strip()
        if key not in keys:
            keys.append(key)
    return tuple(keys)
