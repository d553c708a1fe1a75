"""Findings of a scan that ends while they are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tokenforce_service.scans import views


@pytest.mark.parametrize("ends_before_look", [1, 2])
def test_a_scan_that_ends_meanwhile_shows_its_report(monkeypatch: pytest.MonkeyPatch, ends_before_look: int) -> None:
    """Its parts are gone by then, and nothing would look like nothing found."""
    looks = 0

    def report(_: str) -> Any:
        nonlocal looks
        looks += 1
        return SimpleNamespace(findings=["found"], scan=record) if looks >= ends_before_look else None

    record = SimpleNamespace(reference=None)
    store = SimpleNamespace(report=report, plan=lambda _: None)
    monkeypatch.setattr(views, "ranked", lambda findings, _: list(findings))
    row = SimpleNamespace(id="scan_1")
    assert views.findings_view(store, row, None) == ["found"]  # type: ignore[arg-type, comparison-overlap]
