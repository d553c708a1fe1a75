"""Log lines: JSON for machines, text for people, and nothing that tears a line in two."""

from __future__ import annotations

import json
import logging
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenforce_core.runtime.logs import TEXT, JsonLines, TextLines, configure, current_fields, logged_with


def record(message: str = "done", **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "a.b", "levelname": "INFO", "msg": message, "created": 0.0, **extra})


@given(st.text(), st.dictionaries(st.sampled_from(["scan_id", "request_id"]), st.text()))
def test_a_line_is_one_json_object_whatever_is_logged(message: str, fields: dict[str, str]) -> None:
    with logged_with(**fields):
        line = JsonLines().format(record(message))
    assert line.isascii()
    assert "\n" not in line
    expected = {"ts": "1970-01-01T00:00:00.000+00:00", "level": "info", "logger": "a.b", "message": message}
    assert json.loads(line) == {**expected, **fields}


def test_extra_fields_are_shown_and_objects_are_not() -> None:
    line = json.loads(JsonLines().format(record(status=202, secret=object(), request={"authorization": "x"})))
    assert line["status"] == 202
    assert set(line) == {"ts", "level", "logger", "message", "status"}


def test_an_exception_stays_on_its_line() -> None:
    try:
        raise ValueError("x\ny")
    except ValueError:
        line = JsonLines().format(record(exc_info=sys.exc_info()))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: x\ny")


def test_fields_nest_and_end() -> None:
    with logged_with(request_id="r", scan_id=None), logged_with(scan_id="s"):
        assert current_fields() == {"request_id": "r", "scan_id": "s"}
        assert TextLines(TEXT).format(record()).endswith("INFO a.b: done [request_id=r scan_id=s]")
    assert current_fields() == {}
    assert TextLines(TEXT).format(record()).endswith("INFO a.b: done")


def test_another_thread_has_fields_of_its_own() -> None:
    found: list[dict[str, str]] = []
    with logged_with(request_id="r"):
        thread = threading.Thread(target=lambda: found.append(dict(current_fields())))
        thread.start()
        thread.join()
    assert found == [{}]


def test_configured_for_a_process(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        configure("json")
        logging.getLogger("x").info("hello %s", "you")
        assert json.loads(capsys.readouterr().err)["message"] == "hello you"
        logging.getLogger("httpx").info("GET http://user:password@host/")
        assert capsys.readouterr().err == ""
        configure("text")
        logging.getLogger("x").info("hello %s", "you")
        assert capsys.readouterr().err.endswith("INFO x: hello you\n")
    finally:
        root.handlers[:] = handlers
        logging.getLogger("httpx").setLevel(logging.NOTSET)
        root.setLevel(level)
