"""The keys that are made beside Redis: the local stack's own, and the first one of an installation."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from redis import Redis

from tokenforce.cli.local_stack import StackAddress, StackFailed
from tokenforce.wire.keys import Scope
from tokenforce_service.access import admin_key
from tokenforce_service.access.key_store import KeyRow, KeyStore
from tokenforce_service.access.tokens import parse
from tokenforce_service.local.key import ensure_local_key

Capture = pytest.CaptureFixture[str]


def row_of(redis: Redis, text: str) -> KeyRow:
    """The key that a token proves."""
    token = parse(text.strip())
    assert token is not None
    row = KeyStore(redis).get(token.key_id)
    assert row is not None
    assert row.proven_by(token.secret)
    return row


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "key"


def test_the_stack_s_key_is_kept_from_start_to_start(redis: Redis, server_url: str, file: Path) -> None:
    ensure_local_key(file, server_url)
    first = file.read_text()
    row = row_of(redis, first)
    assert (row.owner, row.scopes, row.revoked_at) == ("local", frozenset({Scope.admin}), None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ensure_local_key(file, server_url)
    assert file.read_text() == first
    assert len(KeyStore(redis).page(10)) == 1
    assert [path.name for path in file.parent.iterdir()] == ["key"]


@pytest.mark.parametrize("spoilt", ["revoked", "forgotten", "garbage", "empty", "binary", "wrong secret"])
def test_a_key_that_does_not_work_any_more_is_replaced(redis: Redis, server_url: str, file: Path, spoilt: str) -> None:
    ensure_local_key(file, server_url)
    first = file.read_text()
    if spoilt == "revoked":
        KeyStore(redis).revoke(row_of(redis, first).id)
    elif spoilt == "forgotten":
        redis.flushdb()
    else:
        wrong = first[:-4] + first[-4:-1].swapcase() + "0\n"
        content = {"garbage": "tf_what", "empty": "", "binary": "\xff", "wrong secret": wrong}[spoilt]
        file.write_bytes(content.encode("latin-1"))
    ensure_local_key(file, server_url)
    assert file.read_text() != first
    assert row_of(redis, file.read_text()).revoked_at is None


def test_a_key_that_others_could_read_is_revoked(redis: Redis, server_url: str, file: Path, tmp_path: Path) -> None:
    ensure_local_key(file, server_url)
    first = row_of(redis, file.read_text())
    file.chmod(0o644)
    ensure_local_key(file, server_url)
    second = row_of(redis, file.read_text())
    assert second.id != first.id
    assert KeyStore(redis).get(first.id) != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # Nor is a link followed: the file takes its place.
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_text()
    ensure_local_key(file, server_url)
    assert not file.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == before
    assert row_of(redis, file.read_text()).id != second.id


def test_what_a_broken_start_left_behind_is_no_obstacle(redis: Redis, server_url: str, file: Path) -> None:
    file.with_name("key.new").write_text("half a to")
    file.with_name("key.new").chmod(0o644)
    ensure_local_key(file, server_url)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert row_of(redis, file.read_text())


def test_the_client_reads_the_key_from_its_file(file: Path) -> None:
    address = StackAddress(url="http://127.0.0.1:1", pid=1, home="/h", logs="/l", key_file=str(file))
    with pytest.raises(StackFailed, match="the key of the local stack cannot be read"):
        address.key()
    file.write_text("tf_a_b\n")
    assert address.key() == "tf_a_b"


# --- the first key --------------------------------------------------------------------------------------


def test_an_admin_s_key_is_made_beside_redis(
    redis: Redis, server_url: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", server_url)
    assert admin_key.main([]) == 0
    assert admin_key.main(["--owner", "ops", "--name", "spare"]) == 0
    shown = capsys.readouterr()
    first, second = (row_of(redis, line) for line in shown.out.splitlines())
    assert (first.owner, first.scopes) == ("admin", frozenset({Scope.admin}))
    assert (second.owner, second.name) == ("ops", "spare")
    for token in shown.out.splitlines():
        assert token.split("_")[2] not in shown.err


def test_an_owner_that_cannot_be_is_a_usage_error(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        admin_key.main(["--owner", "a b"])
    assert "--owner: String should match" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["127.0.0.1:6379", "http://:hunter2@x", "redis://:hunter2/x@h:6379", "redis://h:0x/0"])
def test_a_redis_url_that_is_none(capsys: Capture, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert admin_key.main([]) == 1
    shown = capsys.readouterr()
    assert shown.err == "REDIS_URL is not the URL of a Redis; write it like redis://127.0.0.1:6379/0\n"
    assert shown.out == ""


def test_without_redis_it_says_so(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0")
    assert admin_key.main([]) == 1
    shown = capsys.readouterr()
    assert "check REDIS_URL" in shown.err
    assert "hunter2" not in shown.err + shown.out
