"""What the environment makes of the settings of the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenforce_service.settings import ServiceSettings


def test_folders_may_start_at_the_users_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells expand no `~` in quotes, systemd and compose files expand none at all; `tokenforce doctor` expands it."""
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("TOKENFORCE_CACHE_DIR", "~/hub")
    monkeypatch.setenv("TOKENFORCE_MODEL_ROOTS", '["~/models", "/models"]')
    settings = ServiceSettings()
    assert settings.cache_dir == Path("/home/ada/hub")
    assert settings.model_roots == [Path("/home/ada/models"), Path("/models")]
