"""`tokenforce show`, `list` and `cancel` against a scripted service."""

from __future__ import annotations

import json

import pytest

from tests.support.fake_service import FakeService, finding
from tokenforce.cli.app import main

pytestmark = pytest.mark.usefixtures("quick")

Capture = pytest.CaptureFixture[str]


def test_show_of_a_running_scan_is_partial_and_not_clean(service: FakeService, capsys: Capture) -> None:
    service.ends, service.findings = None, [finding(text="so far")]
    assert main(["show", "s1"]) == 3
    out = capsys.readouterr().out
    assert "sweeping 5/9" in out
    assert '"so far"' in out
    assert main(["show", "s1", "--json"]) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_show_of_a_failed_scan_gives_the_reason(service: FakeService, capsys: Capture, options: list[str]) -> None:
    service.ends = "failed"
    service.error = {"title": "t", "status": 422, "detail": "convert it", "code": "pickle_weights"}
    assert main(["show", "s1", *options]) == 3
    captured = capsys.readouterr()
    assert "pickle_weights: convert it" in (captured.err if options else captured.out)


def test_an_unknown_scan_is_an_error(service: FakeService, capsys: Capture) -> None:
    service.fail(404, "scan_not_found", "there is no scan zz")
    assert main(["show", "zz"]) == 2
    assert "scan_not_found: there is no scan zz" in capsys.readouterr().err


@pytest.mark.usefixtures("service")
def test_list_prints_a_table_or_json(capsys: Capture) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "sweeping" in out
    assert "2026-01-01 00:00" in out
    assert main(["list", "--json", "--limit", "1"]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)] == ["s1"]


def test_cancel(service: FakeService, capsys: Capture) -> None:
    assert main(["cancel", "s1"]) == 0
    assert "cancelled" in capsys.readouterr().out
    service.fail(409, "scan_finished", "the scan has ended")
    assert main(["cancel", "s1"]) == 2
