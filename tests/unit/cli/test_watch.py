"""`tokenforce watch` against scripted services."""

from __future__ import annotations

import io
import json
import signal

import httpx
import pytest
from rich.console import Console

from tests.support.fake_service import HOSTILE, HOSTILE_SHOWN, FakeService, start_cli
from tests.support.fake_transport import URL, answers, scan
from tokenforce import Client, Scan
from tokenforce.cli import output
from tokenforce.cli.app import main
from tokenforce.cli.watch import updates, watch_table
from tokenforce.wire.scans import ScanStatus

Capture = pytest.CaptureFixture[str]


def test_one_scan_is_watched_to_its_end(service: FakeService, capsys: Capture) -> None:
    service.verdict = "suspicious"
    assert main(["watch", "s1"]) == 1
    assert [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()] == ["succeeded"]
    service.ends = "failed"
    service.error = {"title": "t", "status": 422, "detail": "convert it", "code": "pickle_weights"}
    assert main(["watch", "s1", "--json"]) == 3
    assert capsys.readouterr().err == "tokenforce: pickle_weights: convert it\n"


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("s1",), 130)])
def test_ctrl_c_leaves_cleanly_and_cancels_nothing(service: FakeService, arguments: tuple[str, ...], code: int) -> None:
    service.ends = None
    process = start_cli("watch", "--every", "0.1", *arguments)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert json.loads(line)["id"] == "s1"
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert not [request for request in service.requests if request.startswith("DELETE")]


def test_a_scan_is_asked_for_news_only(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[httpx.Request] = []
    script = answers(
        httpx.Response(200, json=scan(done=1), headers={"etag": 'W/"1"'}),
        httpx.Response(304),
        httpx.Response(200, json=scan("succeeded"), headers={"etag": 'W/"2"'}),
    )

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return script(request)

    with httpx.Client(transport=httpx.MockTransport(handler)) as http, Client(URL, http_client=http) as client:
        looks = [[item.progress.done for item in look] for look in updates(client, "s1", recent=9, pause=0)]
    assert looks == [[1], [1], [0]]
    assert [request.headers.get("if-none-match") for request in requests] == [None, 'W/"1"', 'W/"1"']


def test_an_active_scan_stays_when_newer_ones_push_it_out() -> None:
    def made(number: int, status: str = "sweeping") -> dict[str, object]:
        return scan(status, scan_id=f"s{number}", created_at=f"2026-01-01T00:00:0{number}Z")

    requests: list[httpx.Request] = []
    script = answers(
        httpx.Response(200, json={"items": [made(2)], "next_cursor": "c"}),  # those that run, in two pages
        httpx.Response(200, json={"items": [made(0)]}),
        httpx.Response(200, json={"items": [made(2)]}),  # the newest one
        httpx.Response(200, json={"items": [made(2)]}),
        httpx.Response(200, json={"items": [made(3)]}),  # it came between the two lists
        httpx.Response(200, json=made(0, "succeeded")),
        httpx.Response(200, json={"items": [made(3), made(2)]}),
        httpx.Response(200, json={"items": [made(3, "failed")]}),
    )

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return script(request)

    with httpx.Client(transport=httpx.MockTransport(handler)) as http, Client(URL, http_client=http) as client:
        looks = updates(client, None, recent=1, pause=0)
        seen = [[(item.id, item.status.value) for item in next(looks)] for _ in range(3)]
    asked = [request.url.params.get_list("status") for request in requests]
    running = [status.value for status in ScanStatus if not status.final]
    assert asked == [running, running, [], running, [], [], running, []]
    assert seen == [
        [("s2", "sweeping"), ("s0", "sweeping")],
        [("s3", "sweeping"), ("s2", "sweeping"), ("s0", "succeeded")],
        [("s3", "failed"), ("s2", "sweeping")],
    ]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("no_color", [True, False])
def test_the_table_fits_and_hostile_names_are_shown(width: int, no_color: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, no_color=no_color, color_system="standard")
    sweeping = {"stage": "sweeping", "done": 50, "total": 100, "tokens_per_second": 340.2, "eta_seconds": 61}
    running = Scan.model_validate({**scan(scan_id="scan_0123456789abcdef"), "model": HOSTILE, "progress": sweeping})
    ended = Scan.model_validate(scan("succeeded", verdict="hidden_text"))
    console.print(watch_table([ended, running]))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert ("\x1b[1;31m" in shown) is not no_color
    plain = Console(file=io.StringIO(), width=width)
    plain.print(watch_table([ended, running]))
    assert isinstance(plain.file, io.StringIO)
    lines = plain.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[1].startswith("scan_0123456789abcdef  sweeping")
    assert lines[1].split()[3:5] == ["340", "1:01"]
    name = lines[1].index("1:01") + 6
    assert "".join("".join(line[name:] for line in lines[1:-1]).split()) == HOSTILE_SHOWN.replace(" ", "")
    assert all(char.isprintable() for char in "".join(lines))


def test_a_terminal_gets_the_table(service: FakeService, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(output, "stdout", lambda: console)
    service.ends = "succeeded"
    assert main(["watch", "s1"]) == 0
    assert isinstance(console.file, io.StringIO)
    assert "org/model" in console.file.getvalue()
    assert capsys.readouterr().out == ""
