"""The service's settings: environment → one frozen object, passed down."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tokenforce_core.runtime.logs import LogFormat


class ServiceSettings(BaseSettings):
    """Read once at the entry point of the gateway, the aggregator and the local stack."""

    model_config = SettingsConfigDict(env_prefix="TOKENFORCE_", frozen=True, extra="ignore")

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", validation_alias="REDIS_URL", description="Redis or Valkey to use."
    )
    model_roots: list[Path] = Field(
        default=[], description="Folders under which models may be scanned, as a JSON list of paths."
    )
    cache_dir: Path = Field(
        default=Path.home() / ".tokenforce" / "hub", description="Where models from the hub are kept."
    )
    max_model_gib: float = Field(default=200, gt=0, description="Larger models are refused.")
    max_body_bytes: int = Field(default=1 << 20, ge=1024, description="Larger request bodies are refused.")
    receive_seconds: float = Field(default=30, gt=0, description="Requests that take longer to arrive are cut off.")
    shard_size: int = Field(default=4096, ge=1, description="Vocabulary entries per shard.")
    retention_days: float = Field(default=30, gt=0, description="Reports are kept this long.")
    host: str = Field(default="127.0.0.1", description="Address that the gateway listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port that the gateway listens on; 0: any free one.")
    reads_per_minute: int = Field(default=3000, ge=1, description="Requests that read, per key.")
    writes_per_minute: int = Field(default=300, ge=1, description="Requests that change something, per key.")
    keyless_requests_per_minute: int = Field(
        default=600, ge=1, description="Requests without a valid key, per client address."
    )
    active_scans_per_key: int = Field(default=200, ge=1, description="Scans of one key that are not ended yet.")
    scans_per_key_and_day: int = Field(default=5000, ge=1, description="Scans that one key may start per day (UTC).")
    max_active_scans: int = Field(default=2000, ge=1, description="Over this many scans, new ones are put off by 503.")
    max_waiting_shards: int = Field(
        default=100_000, ge=1, description="Over this many waiting shards, new scans are put off by 503."
    )
    reap_seconds: float = Field(default=2, gt=0, description="Pause between looks for work that got lost.")

    callback_allow: list[IPv4Network | IPv6Network] = Field(
        default=[],
        description="Ranges that callbacks may go to though they are not public, as a JSON list such as "
        '`["10.1.0.0/16"]`.',
    )
    callback_http: bool = Field(default=False, description="Callbacks may go to `http://` too, not only `https://`.")
    streams_per_key: int = Field(
        default=20, ge=1, description="Event streams that a key may hold open at a time, at each gateway process."
    )
    log_format: LogFormat = Field(default="json", description="Log lines as `json`, or as `text` for people.")

    @property
    def max_model_bytes(self) -> float:
        return self.max_model_gib * 2**30

    @property
    def retention_seconds(self) -> int:
        return int(self.retention_days * 86400)
