"""`tokenforce doctor` against a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tokenforce.cli.doctor.check import Check, Level
from tokenforce.cli.doctor.machine import machine_checks


@pytest.fixture(autouse=True)
def configured(redis: Redis, server_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", server_url)
    yield
    redis.config_set("maxmemory", 0)
    redis.config_set("maxmemory-policy", "noeviction")


def store() -> Check:
    return machine_checks()[0]


def test_what_it_says_of_a_real_server(redis: Redis) -> None:
    good = store()
    assert (good.name, good.level) == ("Redis", Level.ok)
    assert "maxmemory-policy noeviction" in good.found
    redis.config_set("maxmemory-policy", "allkeys-lru")
    forgetful = store()
    assert (forgetful.level, "set it to noeviction" in forgetful.advice) == (Level.warn, True)
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.1))
    full = store()
    assert (full.level, "raise maxmemory" in full.advice) == (Level.warn, True)
