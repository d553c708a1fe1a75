"""`tokenforce verify` against a scripted service: what it sends, prints and exits with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_service import HOSTILE, FakeService, finding, report
from tokenforce.cli.app import main
from tokenforce.sdk.verify_report import CONTRAST_TOLERANCE_NATS, MIN_SHARED_SHARE

Capture = pytest.CaptureFixture[str]


def hidden(**changes: Any) -> dict[str, Any]:
    return finding(**{"text": "the hidden text", "token_ids": [7, 2, 3], "verdict": "hidden_text", **changes})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report("hidden_text", [hidden(), finding(2, "noise", verdict="clean")])))
    return path


def test_the_help_states_the_tolerances_that_hold(capsys: Capture) -> None:
    assert main(["verify", "--help"]) == 0
    says = " ".join(capsys.readouterr().out.split())
    assert f"{MIN_SHARED_SHARE * 100:.0f} % of its tokens" in says
    assert f"{CONTRAST_TOLERANCE_NATS} nats" in says


def test_findings_that_come_again_hold(service: FakeService, saved: Path, capsys: Capture) -> None:
    service.findings = [hidden(rank=1)]
    assert main(["verify", str(saved)]) == 0
    out = capsys.readouterr().out
    assert "1 holds, 0 differs, 0 missing; tolerance 0.02 in mean probability, 0.1 nats per token in contrast" in out
    assert '"the hidden text"' in out
    (request,) = service.created
    assert request["force_ids"] == [1]
    assert request["force"]
    assert (request["model"], request["reference"]) == ("org/model", "none")
    assert request["contexts"] == [{"name": "bos", "ids": [0]}]
    assert request["beta"] == 50


def test_findings_that_differ_or_are_missing_exit_with_1(service: FakeService, saved: Path, capsys: Capture) -> None:
    service.findings = [hidden(mean_probability=0.5)]
    assert main(["verify", str(saved)]) == 1
    assert "mean probability 0.9877, now 0.5000" in capsys.readouterr().out
    assert main(["verify", str(saved), "--tolerance", "0.5"]) == 0
    service.findings = []
    assert main(["verify", str(saved)]) == 1
    assert "missing" in capsys.readouterr().out


def test_json_says_the_same(service: FakeService, saved: Path, capsys: Capture) -> None:
    service.findings = [hidden()]
    assert main(["verify", str(saved), "--json", "--model", "org/moved", "--reference", "none"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["holds"] is True
    assert answer["checks"] == [
        {"rank": 1, "text": "the hidden text", "outcome": "holds", "differences": [], "rank_again": 1}
    ]
    assert service.created[0]["model"] == "org/moved"


def test_the_report_may_be_a_scans_or_come_from_stdin(
    service: FakeService, saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service.findings = [hidden()]
    assert main(["verify", "scan_1"]) == 0
    with saved.open("rb") as stdin:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stdin})())
        assert main(["verify", "-"]) == 0
    assert len(service.created) == 2


def test_what_cannot_be_verified_is_said(service: FakeService, tmp_path: Path, capsys: Capture) -> None:
    nothing = tmp_path / "nothing.json"
    nothing.write_text(json.dumps(report("clean", [])))
    assert main(["verify", str(nothing)]) == 4
    assert "no finding to repeat" in capsys.readouterr().err
    broken = tmp_path / "broken.json"
    broken.write_text('{"verdict": "clean"}')
    assert main(["verify", str(broken)]) == 4
    assert "is not a report of this version" in capsys.readouterr().err
    odd = report("hidden_text", [hidden()])
    odd["scan"]["settings"]["alpha"] = 0
    broken.write_text(json.dumps(odd))
    assert main(["verify", str(broken)]) == 4
    assert "alpha" in capsys.readouterr().err
    assert main(["verify", "nowhere.json"]) == 4
    assert "there is no file nowhere.json" in capsys.readouterr().err
    assert service.created == []


def test_a_hostile_text_is_printed_visibly(service: FakeService, saved: Path, capsys: Capture) -> None:
    saved.write_text(json.dumps(report("hidden_text", [hidden(text=HOSTILE)])))
    service.findings = []
    assert main(["verify", str(saved)]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_a_report_opens_no_folder_that_is_no_model(
    saved: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local stack may read the folders of a scan; the report may come from anybody."""
    monkeypatch.delenv("TOKENFORCE_URL", raising=False)
    named = json.loads(saved.read_text())
    named["scan"]["target"]["model"] = "/"
    saved.write_text(json.dumps(named))
    assert main(["verify", str(saved)]) == 4
    assert "names /, which is no model on this machine; use --model" in capsys.readouterr().err
