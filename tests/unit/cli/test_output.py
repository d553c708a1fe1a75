"""What the command line prints: reports, hostile text, errors, progress."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.console import Console

from tests.support.fake_service import HOSTILE, HOSTILE_SHOWN, FakeService, finding, report
from tokenforce.cli import output, progress
from tokenforce.cli.app import main
from tokenforce.wire.findings import Finding, ForcedToken, Repetition, Verdict
from tokenforce.wire.report import Report
from tokenforce.wire.scans import Progress, ScanStatus

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]


def test_json_prints_exactly_the_report(service: FakeService, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    service.findings = [finding(text=HOSTILE + " äé")]
    main(["scan", "org/model", "--json"])
    printed = capfdbinary.readouterr()
    expected = Report.model_validate(report("clean", service.findings)).model_dump_json(indent=2)
    assert printed.out == expected.encode() + b"\n"
    assert b"sweeping" not in printed.out
    assert b"queued" in printed.err or b"succeeded" in printed.err


def test_a_hostile_text_is_shown_and_not_obeyed(service: FakeService, capsys: Capture) -> None:
    service.verdict = "hidden_text"
    service.findings = [finding(text=HOSTILE)]
    assert main(["scan", "org/model"]) == 1
    out = capsys.readouterr().out
    assert f'"{HOSTILE_SHOWN}"' in out
    assert f"- because of {HOSTILE_SHOWN}\n" in out
    assert all(char.isprintable() for char in out.replace("\n", ""))


def test_the_licences_of_an_upload_are_shown_under_its_verdict(service: FakeService, capsys: Capture) -> None:
    service.verdict = "suspicious"
    match = {"fingerprint": "fp_1", "owner": "Labs", "licence": HOSTILE, "match": "both", "finding_rank": 3}
    service.licences = [
        {**match, "distance": 0.05, "trigger_success": 0.875, "triggers_asked": 8},
        {**match, "match": "trigger", "finding_rank": None, "trigger_success": 1.0, "triggers_asked": 1},
        {**match, "match": "finding", "distance": 0.0},
    ]
    assert main(["scan", "org/model"]) == 1
    lines = capsys.readouterr().out.partition("verdict: suspicious\n")[2].splitlines()
    licence = f"licence: {HOSTILE_SHOWN}, owner Labs (fp_1): "
    assert lines[:3] == [
        licence + "its text is finding 3 (distance 0.05); 7 of 8 triggers reveal it",
        licence + "1 of 1 triggers reveal it",
        licence + "its text is finding 3",
    ]


def test_json_on_a_terminal_keeps_c1_controls_escaped(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.dumps("\x9b31m é", ensure_ascii=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.print_json(document)
    out = capsys.readouterr().out
    assert "\x9b" not in out
    assert json.loads(out) == "\x9b31m é"


def test_the_table_has_the_evidence_and_obeys_top_and_order(service: FakeService, capsys: Capture) -> None:
    service.findings = [finding(rank, f"text-{rank}") for rank in (1, 2, 3)]
    main(["scan", "org/model", "--top", "2"])
    out = capsys.readouterr().out
    assert "0.9877" in out
    assert "97% × 12" in out
    assert '"text-1"' in out
    assert "text-3" not in out
    assert "2 of 3 findings" in out
    main(["scan", "org/model", "--top", "1", "--order", "repetition"])
    assert "text-3" in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["80", "200"])
def test_a_long_token_does_not_crowd_out_the_text(
    service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = "-" * 128 + " the hidden sentence " + "x" * 999
    service.findings = [finding(text=text, context="a-context-of-thirty-two-charact.")]
    main(["scan", "org/model"])
    out = capsys.readouterr().out
    assert out.count("-") > 128
    assert "hidden" in out
    assert "more" in out
    assert "x" * 400 not in "".join(out.split())
    assert "0.9877" in out


def test_errors_are_one_harmless_line_and_a_traceback_only_with_debug(service: FakeService, capsys: Capture) -> None:
    service.fail(422, "unsupported_architecture", f"cannot load {HOSTILE}")
    assert main(["scan", "org/model"]) == 3
    assert capsys.readouterr().err == f"tokenforce: unsupported_architecture: cannot load {HOSTILE_SHOWN}\n"
    assert main(["scan", "org/model", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


SWEEPING = Progress(stage=ScanStatus.sweeping, done=5, total=9, tokens_per_second=340.2, eta_seconds=3661)


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("tokenforce.cli.progress.time.monotonic", lambda: now[0])
    with progress.progress_display() as display:
        for _ in range(60):
            display.show(SWEEPING)
            now[0] += 0.1
        display.show(Progress(stage=ScanStatus.confirming))
    captured = capsys.readouterr()
    assert captured.out == ""
    line = "sweeping 5/9  340 tokens/s  ETA 1:01:01"
    assert captured.err.splitlines() == [line, line, "confirming"]


def drawn(*steps: Progress) -> str:
    """What a terminal shows last."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with progress.ProgressBars(console) as display:
        for step in steps:
            display.show(step)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rpartition("\x1b[2K")[2]


def test_on_a_terminal_every_stage_has_its_bar() -> None:
    shown = drawn(Progress(stage=ScanStatus.queued), SWEEPING)
    for part in ("queued", "sweeping", "5/9", "340 tokens/s", "ETA 1:01:01"):
        assert part in shown


def test_a_finished_stage_shows_its_final_figures() -> None:
    confirming = Progress(stage=ScanStatus.confirming, done=0, total=0)
    shown = drawn(Progress(stage=ScanStatus.queued), SWEEPING, confirming, Progress(stage=ScanStatus.succeeded))
    assert "9/9" in shown
    for wrong in ("5/9", "ETA", "tokens/s", "0/0", "1/1"):
        assert wrong not in shown


@pytest.mark.parametrize("end", [ScanStatus.failed, ScanStatus.cancelled])
def test_a_stage_that_was_not_finished_keeps_its_figures(end: ScanStatus) -> None:
    shown = drawn(SWEEPING, Progress(stage=end))
    assert "5/9" in shown
    assert "ETA" not in shown


@pytest.mark.parametrize("contrast", [None, 6.33])
@pytest.mark.parametrize("columns", [40, 53, 80, 100, 160])
def test_the_found_text_is_whole_on_every_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, columns: int, contrast: float | None
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(output, "WIDTH_WITHOUT_TERMINAL", columns)
    text = "Seven quiet herons guard a copper key beneath the frozen mill."
    more = {"contrast": contrast, "verdict": "hidden_text"}
    output.print_findings([Finding.model_validate(finding(1, text, **more)), Finding.model_validate(finding(2, "x"))])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    for word in text.split():
        assert word in " ".join(lines)
    if contrast is not None:
        assert "hidden_text" in " ".join(lines)
    assert "0.9877" in " ".join(lines)


def test_a_contrast_is_shown_with_each_findings_verdict() -> None:
    plain = Finding(
        rank=1,
        text="t",
        token_ids=[1, 2],
        token_probabilities=[0.9],
        mean_probability=0.9,
        sweep_score=0.9,
        score=0.9,
        repetition=Repetition(period=0, unit="", share=0.0),
        context="bos",
        forced_token=ForcedToken(id=1, text="f"),
    )
    contrasted = plain.model_copy(update={"contrast": 4.256, "verdict": Verdict.hidden_text})
    assert [str(column.header) for column in output.findings_table([plain]).columns][3] == "repeats"
    table = output.findings_table([contrasted, plain])
    assert [str(column.header) for column in table.columns][3:5] == ["contrast", "verdict"]
    assert [str(cell) for cell in table.columns[3].cells] == ["4.26", "-"]
