"""The worker's settings: environment → one frozen object, passed down."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tokenforce_core.runtime.logs import LogFormat


class WorkerSettings(BaseSettings):
    """Read once at the entry point. `None` means: choose from the machine (see `machine.py`)."""

    model_config = SettingsConfigDict(env_prefix="TOKENFORCE_", frozen=True, extra="ignore")

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        validation_alias="REDIS_URL",
        description="Redis or Valkey to take work from.",
    )
    device: Literal["cuda", "cpu"] | None = Field(default=None, description="Engine device.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        default=None, description="Compute type. Default: never coarser than the checkpoint's."
    )
    merge_adapters: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Merge LoRA adapters into a copy of their base; `auto`: on a CPU with enough memory.",
    )
    block_size: int | None = Field(default=None, description="KV block size in tokens.")
    kv_cache_gib: float | None = Field(default=None, gt=0, description="KV cache size on a CPU.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of the engine. Default: all cores.")
    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1, description="Share of the GPU's memory.")
    max_num_seqs: int | None = Field(default=None, ge=1, description="Sequences decoded together.")
    max_batched_tokens: int | None = Field(default=None, ge=64, description="Tokens per engine step.")
    max_model_len: int = Field(default=512, ge=64, description="Longest sequence; raised for scans that need more.")
    lease_seconds: int = Field(
        default=30, ge=3, description="Seconds without a heartbeat after which a worker loses its shard."
    )
    shard_deadline_seconds: float = Field(default=3600, gt=0, description="Seconds after which a shard is given up.")
    stall_seconds: float = Field(
        default=180, gt=0, description="Seconds in one engine step after which the worker is restarted."
    )
    load_seconds: float = Field(
        default=1800, gt=0, description="Seconds of loading a model after which the worker is restarted."
    )
    fair_after: int = Field(default=20, ge=1, description="Shards of one model in a row while others wait.")
    retention_days: float = Field(
        default=30, gt=0, description="Days that results are kept; the same as in the service."
    )
    poll_seconds: float = Field(default=0.25, gt=0, description="Seconds between two looks at empty queues.")

    @model_validator(mode="after")
    def _merges_in_float32(self) -> Self:
        if self.merge_adapters == "always" and self.dtype not in (None, "float32"):
            # A light adapter would be rounded away.
            raise ValueError(f"TOKENFORCE_MERGE_ADAPTERS=always needs float32, and TOKENFORCE_DTYPE is {self.dtype}")
        return self

    log_format: LogFormat = Field(default="json", description="Log lines as `json`, or as `text` for people.")

    @property
    def retention_seconds(self) -> int:
        return int(self.retention_days * 86400)
