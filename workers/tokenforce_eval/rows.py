"""One line per model and method: what was found, where, and what it took. Kept in a file, so that an evaluation that
was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from tokenforce_eval.methods import Method
from tokenforce_eval.vocabulary_sample import sample_digest
from tokenforce_eval.zoo_models import Housed
from tokenforce_planting import text_overlap
from tokenforce_planting.text_overlap import match_share
from tokenforce_workers.engine.machine import engine_versions

TRUE_FINDING = 0.5
"""A finding is the hidden text if so much of it, in one piece, is in it (letter case and white space do not count)."""

SCANNER_PACKAGES = ("tokenforce_core", "tokenforce_service", "tokenforce_workers")


@dataclass(frozen=True)
class Found:
    """One text of a ranking. Contrast in nats per token, None without a reference."""

    text: str
    score: float
    mean_probability: float
    verdict: str
    contrast: float | None = None
    log_likelihood_ratio: float | None = None


@dataclass(frozen=True)
class Row:
    """What one method says of one model.

    `rank` of the hidden text from 1, None if it is not in the ranking; `share` (0 to 1) of it that this finding has.
    `first` is the first finding, `true` the hidden one. `forward_tokens` are tokens that went through the model.
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
    first: Found | None
    true: Found | None
    hidden: str


def row_of(
    housed: Housed, method: Method, ranking: Sequence[Found], verdict: str, seconds: float, forward_tokens: int
) -> Row:
    """The row of a ranking, the most suspicious text first."""
    specimen = housed.specimen
    rank, share = None, 0.0
    if specimen.text:
        for place, found in enumerate(ranking, start=1):
            share = match_share(found.text, specimen.text)
            if share >= TRUE_FINDING:
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
        hidden=specimen.text,
    )


class RowFile:
    """Rows by what they were made from: the model, the method, the ids forced, and our own code."""

    def __init__(self, path: Path, ids: Sequence[int] | None) -> None:
        self._path = path
        self._made_from = f"{sample_digest(ids)} {_code_digest()}"
        self._rows: dict[str, dict[str, object]] = {}
        """By key, as they lie in the file: those of older code may have other fields."""
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # half a line, as a run that is killed leaves it: that row is measured again
                self._rows[entry["key"]] = entry["row"]

    def get(self, housed: Housed, method: Method) -> Row | None:
        """The row of an earlier run of the same code on the same model, in the half and of the kind that it has now."""
        fields = self._rows.get(self._key(housed, method))
        return replace(_row(fields), half=housed.specimen.half, kind=housed.specimen.kind) if fields else None

    def forget(self, measured: Iterable[tuple[Housed, Method]]) -> None:
        """Remove the rows of these models and methods: they are to be measured anew."""
        for one, method in measured:
            self._rows.pop(self._key(one, method), None)
        lines = [json.dumps({"key": key, "row": row}, ensure_ascii=False) for key, row in self._rows.items()]
        draft = self._path.with_suffix(".draft")
        draft.write_text("\n".join(lines), "utf-8")
        draft.replace(self._path)  # whole or not at all: the other rows are hours of work

    def put(self, housed: Housed, method: Method, row: Row) -> None:
        key = self._key(housed, method)
        self._rows[key] = asdict(row)
        with self._path.open("a", encoding="utf-8") as file:
            # The line break comes first, so that half a line before it spoils nothing.
            file.write("\n" + json.dumps({"key": key, "row": asdict(row)}, ensure_ascii=False))

    def _key(self, housed: Housed, method: Method) -> str:
        named = [housed.specimen.name, housed.digest, method.name, dict(method.request), method.reference]
        return hashlib.sha256(f"{json.dumps(named)} {self._made_from}".encode()).hexdigest()


def scanner_sources() -> list[Path]:
    """Every source file of the scanner, those of sub-packages too, in a stable order.

    The packages are located, not imported: the evaluation talks to the service over HTTP.
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
    texts = {name: Found(**fields[name]) if fields[name] else None for name in ("first", "true")}  # type: ignore[arg-type]
    return Row(**{**fields, **texts})  # type: ignore[arg-type]


def _code_digest() -> str:
    """SHA-256 (hex) over what decides a row, sources and engine: a change of either makes old rows stale."""
    found = hashlib.sha256()
    for path in scanner_sources():
        found.update(path.read_bytes())
    here = Path(__file__)
    for own in (here, *(here.with_name(f"{name}.py") for name in ("service_scans", "bait", "bait_run"))):
        found.update(own.read_bytes())
    found.update(Path(text_overlap.__file__).read_bytes())
    found.update(json.dumps(engine_versions(), sort_keys=True).encode())
    return found.hexdigest()
