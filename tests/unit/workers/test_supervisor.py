"""A worker that can never start is given up; one that dies at work is started again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tokenforce_workers.supervisor import EARLY_DEATHS, NEVER_READY

SUPERVISE = """
import sys
from tokenforce_workers import supervisor
supervisor.BACKOFF_SECONDS = (0.01, 0.02)
sys.exit(supervisor.supervise(sys.argv[1:]))
"""


def supervised(code: str, seconds: float) -> int:
    """Exit status of a supervisor of `python -c code`."""
    command = [sys.executable, "-c", SUPERVISE, sys.executable, "-c", code]
    return subprocess.run(command, timeout=seconds, capture_output=True).returncode


def diary(path: Path, then: str) -> str:
    return f"import os, signal; open({str(path)!r}, 'a').write('x'); {then}"


@pytest.mark.parametrize("death", [f"os._exit({NEVER_READY})", "os.kill(os.getpid(), signal.SIGILL)"])
def test_a_worker_that_cannot_start_is_given_up(tmp_path: Path, death: str) -> None:
    assert supervised(diary(tmp_path / "starts", death), 30) == 1
    assert len((tmp_path / "starts").read_text()) == EARLY_DEATHS


def test_a_worker_that_dies_at_work_is_started_again(tmp_path: Path) -> None:
    """By a poisonous shard, say: the fourth start ends the supervisor, so that the test ends."""
    starts = tmp_path / "starts"
    death = f"os.kill(os.getpid() if len(open({str(starts)!r}).read()) < 4 else os.getppid(), signal.SIGKILL)"
    assert supervised(diary(starts, death), 30) == -9
    assert len(starts.read_text()) == 4
