"""The settings of the service: one frozen object, read from the environment and passed down."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis import Redis

from tokenforce.home import home
from tokenforce_core.runtime.logs import LogFormat
from tokenforce_core.scans.store import Store

_Folder = Annotated[Path, AfterValidator(Path.expanduser)]


class ServiceSettings(BaseSettings):
    """Read once, at the entry point of a process."""

    model_config = SettingsConfigDict(env_prefix="TOKENFORCE_", frozen=True, extra="ignore")

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", validation_alias="REDIS_URL", description="URL of Redis or Valkey."
    )
    model_roots: list[_Folder] = Field(
        default=[], description="Folders whose models may be scanned, as a JSON list of paths."
    )
    known_bases: list[str] = Field(
        default=[],
        description="Folders of base models, as a JSON list of absolute paths: a scan that names no reference takes "
        "the nearest one, if the target was made from it.",
    )
    cache_dir: _Folder = Field(default_factory=lambda: home() / "hub", description="Folder for models from the hub.")
    max_model_gib: float = Field(
        default=200, gt=0, description="Largest model, in GiB of weights; larger ones are refused."
    )
    max_body_bytes: int = Field(
        default=1 << 20, ge=1024, description="Largest request body, in bytes; larger ones are refused."
    )
    receive_seconds: float = Field(
        default=30, gt=0, description="Seconds that a request may take to arrive; slower ones are cut off."
    )
    shard_size: int = Field(default=4096, ge=1, description="Vocabulary entries per shard.")
    retention_days: float = Field(default=30, gt=0, description="Days for which reports are kept.")
    host: str = Field(default="127.0.0.1", description="Address that the gateway listens on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port that the gateway listens on; 0 chooses a free one."
    )
    reads_per_minute: int = Field(default=3000, ge=1, description="Requests per key that read.")
    writes_per_minute: int = Field(default=300, ge=1, description="Requests per key that change something.")
    keyless_requests_per_minute: int = Field(
        default=600, ge=1, description="Requests per client address without a valid key."
    )
    active_scans_per_key: int = Field(default=200, ge=1, description="Active scans per key.")
    scans_per_key_and_day: int = Field(default=5000, ge=1, description="Scans that a key may start per day (UTC).")
    max_active_scans: int = Field(
        default=2000, ge=1, description="Active scans of all keys; at this limit new scans get 503."
    )
    max_waiting_shards: int = Field(
        default=100_000, ge=1, description="Waiting shards of all scans; at this limit new scans get 503."
    )
    reap_seconds: float = Field(default=2, gt=0, description="Seconds between searches for lost work.")

    webhook_allow: list[IPv4Network | IPv6Network] = Field(
        default=[],
        description="Address ranges that are not public and may receive webhooks, as a JSON list such as "
        '`["10.1.0.0/16"]`.',
    )
    webhook_http: bool = Field(default=False, description="Allow `http://` for webhooks, not only `https://`.")
    streams_per_key: int = Field(
        default=20, ge=1, description="Event streams that a key may hold open in each gateway process."
    )
    log_format: LogFormat = Field(default="json", description="Format of log lines: `json`, or `text` for people.")

    @property
    def max_model_bytes(self) -> float:
        return self.max_model_gib * 2**30

    @property
    def retention_seconds(self) -> int:
        return int(self.retention_days * 86400)


def open_store(settings: ServiceSettings) -> Store:
    """The store of these settings, for a process or a job of its own."""
    return Store(Redis.from_url(settings.redis_url), settings.retention_seconds)
