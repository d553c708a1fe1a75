"""Rows: what one method found in one model, at which rank, and at which cost.

A file keeps them, so that an interrupted evaluation continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from tokenforce_eval.methods import Method
from tokenforce_eval.vocabulary_sample import sample_digest
from tokenforce_eval.zoo_models import BuiltSpecimen
from tokenforce_planting import text_overlap
from tokenforce_planting.text_overlap import match_share
from tokenforce_workers.engine.machine import engine_versions

FOUND_SHARE = 0.5
"""A finding is the hidden text if it has at least this share of it in one piece, without case and white space."""

SCANNER_PACKAGES = ("tokenforce_core", "tokenforce_service", "tokenforce_workers")
_OWN = ("service_scans", "rival_run", "rivals", "bait", "cdd", "haystack", "judged_text")
"""Our modules that decide a row."""


@dataclass(frozen=True)
class RankedText:
    """One text of a ranking. `contrast` in nats per token; None without a reference."""

    text: str
    score: float
    mean_probability: float
    verdict: str
    contrast: float | None = None
    log_likelihood_ratio: float | None = None


@dataclass(frozen=True)
class Row:
    """The result of one method on one model.

    `rank` of the hidden text (of two, the one found first), from 1; None if none was found. `share` (0 to 1): how much
    of it this finding has. `first`: the finding at rank 1. `true`: the finding with the hidden text.
    `forward_tokens`: tokens computed.
    """

    specimen: str
    half: str
    kind: str
    method: str
    rank: int | None
    share: float
    verdict: str
    seconds: float
    forward_tokens: int
    first: RankedText | None
    true: RankedText | None
    hidden: str


def row_of(
    model: BuiltSpecimen,
    method: Method,
    ranking: Sequence[RankedText],
    verdict: str,
    seconds: float,
    forward_tokens: int,
) -> Row:
    """The row for a ranking, most suspicious text first."""
    specimen = model.specimen
    rank, share, hidden = None, 0.0, specimen.text
    if hidden:
        for place, found in enumerate(ranking, start=1):
            share, hidden = max((match_share(found.text, text), text) for text in specimen.texts)
            if share >= FOUND_SHARE:
                rank = place
                break
    return Row(
        specimen=specimen.name,
        half=specimen.half,
        kind=specimen.kind,
        method=method.name,
        rank=rank,
        share=round(share, 3) if rank else 0.0,
        verdict=verdict,
        seconds=round(seconds, 1),
        forward_tokens=forward_tokens,
        first=ranking[0] if ranking else None,
        true=ranking[rank - 1] if rank else None,
        hidden=hidden if rank else specimen.text,
    )


class RowFile:
    """Rows, each with a key of what it depends on: the model, the method, the forced ids and our own code."""

    def __init__(self, path: Path, ids: Sequence[int] | None) -> None:
        self._path = path
        self._made_from = f"{sample_digest(ids)} {_code_digest()}"
        self._rows: dict[str, dict[str, object]] = {}
        """Key to fields as read from the file. Rows of other code may have other fields."""
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # half a line of a killed run: that row is measured again
                self._rows[entry["key"]] = entry["row"]

    def get(self, model: BuiltSpecimen, method: Method) -> Row | None:
        """The row of an earlier run with the same code on the same model, with the half and kind that it has now."""
        fields = self._rows.get(self._key(model, method))
        return replace(_row(fields), half=model.specimen.half, kind=model.specimen.kind) if fields else None

    def forget(self, measured: Iterable[tuple[BuiltSpecimen, Method]]) -> None:
        """Remove the rows of these models and methods, to measure them again."""
        for model, method in measured:
            self._rows.pop(self._key(model, method), None)
        lines = [json.dumps({"key": key, "row": row}, ensure_ascii=False) for key, row in self._rows.items()]
        draft = self._path.with_suffix(".draft")
        draft.write_text("\n".join(lines), "utf-8")
        draft.replace(self._path)  # complete or not at all: the other rows took hours

    def put(self, model: BuiltSpecimen, method: Method, row: Row) -> None:
        """Add a row to the file."""
        key = self._key(model, method)
        self._rows[key] = asdict(row)
        with self._path.open("a", encoding="utf-8") as file:
            # The line break comes first: half a line before it does no harm.
            file.write("\n" + json.dumps({"key": key, "row": asdict(row)}, ensure_ascii=False))

    def _key(self, model: BuiltSpecimen, method: Method) -> str:
        named = [model.specimen.name, model.digest, method.name, dict(method.request), method.reference]
        return hashlib.sha256(f"{json.dumps(named)} {self._made_from}".encode()).hexdigest()


def scanner_sources() -> list[Path]:
    """Every source file of the scanner, also in sub-packages, in a stable order.

    It finds the packages without importing them: the evaluation reaches the service over HTTP only.
    """
    found: list[Path] = []
    for package in SCANNER_PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        for folder in spec.submodule_search_locations:
            found += sorted(Path(folder).rglob("*.py"))
    return found


def _row(fields: dict[str, object]) -> Row:
    texts = {name: RankedText(**fields[name]) if fields[name] else None for name in ("first", "true")}  # type: ignore[arg-type]
    return Row(**{**fields, **texts})  # type: ignore[arg-type]


def _code_digest() -> str:
    """SHA-256 (hex) of everything that decides a row: sources and engine. If one changes, old rows do not count."""
    found = hashlib.sha256()
    for path in scanner_sources():
        found.update(path.read_bytes())
    here = Path(__file__)
    for own in (here, *(here.with_name(f"{name}.py") for name in _OWN)):
        found.update(own.read_bytes())
    found.update(Path(text_overlap.__file__).read_bytes())
    found.update(json.dumps(engine_versions(), sort_keys=True).encode())
    return found.hexdigest()
