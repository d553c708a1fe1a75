"""Stacks that a test starts and ends itself: for one command, and killed and started again."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.support.scanning import ended, until
from tests.support.stack_process import run_cli, whole_stack
from tests.support.tiny_model import HIDDEN_TEXT
from tokenforce import Client
from tokenforce.wire.scans import ScanStatus


def test_the_command_alone_starts_and_stops_a_stack_of_its_own(planted_model: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_cli("scan", str(planted_model), "--context", "assistant", TOKENFORCE_HOME=str(home))
    assert done.returncode == 1, done.stderr
    assert HIDDEN_TEXT in " ".join(done.stdout.split())
    assert "sweeping" in done.stderr
    left = [
        p for p in psutil.process_iter(["environ"]) if (p.info["environ"] or {}).get("TOKENFORCE_HOME") == str(home)
    ]
    assert not [p for p in left if p.status() != psutil.STATUS_ZOMBIE]
    assert not (home / "stack.json").exists()


def test_a_restart_of_everything_goes_on_where_it_was(tmp_path: Path, models: Path, planted_model: Path) -> None:
    """Kill -9 of the whole stack in mid-sweep; a new one on the same home finishes the scan."""
    settings = {"TOKENFORCE_SHARD_SIZE": "64", "TOKENFORCE_LEASE_SECONDS": "4", "TOKENFORCE_REAP_SECONDS": "0.5"}
    settings |= {"TOKENFORCE_KV_CACHE_GIB": "0.5", "TOKENFORCE_MAX_NUM_SEQS": "32"}
    with whole_stack(tmp_path / "home", models, **settings) as first:
        with Client(first.url, key=first.key) as client:
            scan = client.scans.create(model=str(planted_model), contexts=["assistant"], alpha=60, floor=0.0, keep=20)
            until(client, scan.id, lambda status, done: status is ScanStatus.sweeping and done >= 64)
        left = first.processes()
        first.child.kill()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], "the stack left processes behind"
    with whole_stack(tmp_path / "home", models, **settings) as second, Client(second.url, key=second.key) as client:
        before = client.scans.get(scan.id)
        assert before.progress.done >= 64
        assert ended(client, scan).status is ScanStatus.succeeded
        assert client.scans.report(scan.id).findings
        left = second.processes()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], "an orderly stop left processes behind"
