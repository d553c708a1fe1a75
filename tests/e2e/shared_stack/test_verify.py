"""A report can be repeated: on its own model its findings hold, on another one they do not."""

from __future__ import annotations

from pathlib import Path

from tests.support.stack_process import RunningStack
from tests.support.tiny_model import HIDDEN_TEXT, build_tiny_model
from tokenforce import Client
from tokenforce.sdk.verify_report import Outcome


def test_a_reports_findings_hold_on_its_model_and_on_no_other(
    stack: RunningStack, client: Client, models: Path, planted_model: Path
) -> None:
    scan = client.scans.create(model=str(planted_model), contexts=["assistant"])
    client.scans.wait(scan.id, timeout=600)
    report = client.scans.report(scan.id)
    again = client.scans.verify(report)
    assert again.holds, again
    assert HIDDEN_TEXT in [check.finding.text for check in again.checks]
    assert again.notes == ()
    repeated = client.scans.report(again.scan_id)
    assert repeated.scan.forced < report.scan.forced, "only the findings' own tokens"

    other = models / "verify-other"
    build_tiny_model(other, planted=None, seed=5)
    elsewhere = client.scans.verify(report, model=str(other))
    assert not elsewhere.holds
    assert all(check.outcome is Outcome.missing for check in elsewhere.checks)
    assert "The model's files differ from those of the report." in elsewhere.notes
