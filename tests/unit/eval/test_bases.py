"""Models of several bases in one evaluation: each is scanned against its own base, with its own vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tokenforce_eval import main as evaluation
from tokenforce_eval import zoo
from tokenforce_eval.main import Evaluation
from tokenforce_eval.specimens import Base, Specimen
from tokenforce_eval.zoo_models import BuiltSpecimen
from tokenforce_planting.recipe import Recipe
from tokenforce_planting.step_progress import StepProgress

LLAMA = Specimen("llama", "held_out", Recipe("message", "one text", ("t",)))
NEOX = Specimen(
    "neox",
    "held_out",
    Recipe("message", "another text", ("u",), second_text="a third", second_trigger="v"),
    base="docs-neox",
)


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Path, list[int]]]:
    """What would be scanned: names of the models, their base, and the forced ids."""
    calls: list[tuple[list[str], Path, list[int]]] = []

    def build_base(_cache: Path, _progress: object, name: Base) -> Path:
        return Path(name)

    def build(_cache: Path, base: Path, specimens: Sequence[Specimen], _progress: object) -> list[BuiltSpecimen]:
        return [BuiltSpecimen(specimen, base / specimen.name, specimen.name) for specimen in specimens]

    def vocabulary_sample(base: Path, size: int, texts: Sequence[str]) -> list[int]:
        return [size, len(base.name), *(len(text) for text in texts)]

    def scan(_: Evaluation, todo: Sequence[tuple[BuiltSpecimen, Any]], base: Path, ids: list[int], _file: Any) -> None:
        calls.append(([model.specimen.name for model, _ in todo], base, ids))

    for name, stand_in in (("build_base", build_base), ("build", build), ("vocabulary_sample", vocabulary_sample)):
        monkeypatch.setattr(evaluation, name, stand_in)
    monkeypatch.setattr(Evaluation, "_scan", scan)
    monkeypatch.setattr(zoo, "ZOO", (LLAMA, NEOX))
    return calls


def run(tmp_path: Path, only: str) -> Evaluation:
    where = ["--cache", str(tmp_path / "models"), "--out", str(tmp_path / "eval"), "--sample", "7"]
    options = evaluation._parser().parse_args([*where, "--methods", "standard", "--only", only])
    with StepProgress() as progress:
        found = Evaluation(options, progress)
        found.run()
    return found


def test_each_model_is_scanned_against_its_own_base(
    tmp_path: Path, scanned: list[tuple[list[str], Path, list[int]]]
) -> None:
    ended = run(tmp_path, "held_out")
    assert scanned == [
        (["llama"], Path("smollm2"), [7, len("smollm2"), len("one text")]),
        (["neox"], Path("docs-neox"), [7, len("docs-neox"), len("another text"), len("a third")]),
    ]
    assert ended.forced == 4


def test_a_base_without_models_is_not_built(tmp_path: Path, scanned: list[tuple[list[str], Path, list[int]]]) -> None:
    run(tmp_path, "docs-neox")
    assert [base for _, base, _ in scanned] == [Path("docs-neox")]
