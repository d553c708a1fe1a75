"""The registry of workers: what RQ stores about each one, and what GPU workers announce about themselves.

Keys: RQ's `rq:workers`, `rq:worker:<name>` and `…:executions` · `tf:worker:<name>` hash, what a GPU worker announces ·
`tf:engine` hash, versions and device of the engines · `tf:architectures` what they can load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis import Redis
from rq import Queue

from tokenforce_core.queues.jobs import CONTROL_QUEUE, scan_of_job
from tokenforce_core.runtime.text_redis import text_redis

_RQ_FIELDS = ("state", "last_heartbeat", "queues")
_OWN_FIELDS = ("device", "model", "owner", "loading")
ARCHITECTURES = "tf:architectures"
ENGINE = "tf:engine"
KEPT_SECONDS = 120
"""A worker announces itself every few seconds."""


@dataclass(frozen=True)
class Worker:
    """One worker process. `model` is what its engine has loaded or loads now, for a scan of `owner`."""

    name: str
    control: bool
    """True for an aggregator, which plans and reports and has no engine."""
    busy: bool
    loading: bool
    device: str | None
    model: str | None
    owner: str | None
    scan_id: str | None
    last_heartbeat: datetime | None


@dataclass(frozen=True)
class QueueDepth:
    """Jobs of one queue."""

    name: str
    waiting: int
    running: int


def announce(connection: Redis, name: str, *, device: str, model: str, owner: str, loading: bool) -> None:
    """Store what a GPU worker is doing. `connection` may be a pipeline; without a model, `model` and `owner` are ""."""
    fields: dict[Any, Any] = {"device": device, "model": model, "owner": owner, "loading": int(loading)}
    connection.hset(f"tf:worker:{name}", mapping=fields)
    connection.expire(f"tf:worker:{name}", KEPT_SECONDS)


def workers(connection: Redis) -> list[Worker]:
    """Every registered worker, by name."""
    redis = text_redis(connection)
    keys = sorted(redis.smembers("rq:workers"))
    names = [key.removeprefix("rq:worker:") for key in keys]
    with redis.pipeline(transaction=False) as pipe:
        for key, name in zip(keys, names, strict=True):
            pipe.hmget(key, _RQ_FIELDS)
            pipe.hmget(f"tf:worker:{name}", _OWN_FIELDS)
            pipe.smembers(f"{key}:executions")
        found = pipe.execute()
    read = zip(names, found[::3], found[1::3], found[2::3], strict=True)
    # A worker without a heartbeat has died, and the reaper has not removed it yet.
    return [_worker(name, rq, own, running) for name, rq, own, running in read if rq[1] is not None]


def _worker(name: str, rq: list[str | None], own: list[str | None], running: set[str]) -> Worker:
    state, heartbeat, queues = rq
    device, model, owner, loading = own
    jobs = (scan_of_job(execution.partition(":")[0]) for execution in running)
    return Worker(
        name=name,
        control=CONTROL_QUEUE in (queues or "").split(","),
        busy=state == "busy",
        loading=loading == "1",
        device=device,
        model=model or None,
        owner=owner or None,
        scan_id=next(jobs, None),
        last_heartbeat=datetime.fromisoformat(heartbeat) if heartbeat else None,
    )


def queue_depths(connection: Redis) -> list[QueueDepth]:
    """Every queue that RQ knows, by name, with its number of jobs."""
    redis = text_redis(connection)
    keys = sorted(redis.smembers(Queue.redis_queues_keys))
    names = [key.removeprefix(Queue.redis_queue_namespace_prefix) for key in keys]
    with redis.pipeline(transaction=False) as pipe:
        for key, name in zip(keys, names, strict=True):
            pipe.llen(key)
            pipe.zcard(f"rq:wip:{name}")  # never `.count`, which would run maintenance
        found = pipe.execute()
    return [QueueDepth(*depth) for depth in zip(names, found[::2], found[1::2], strict=True)]


def publish_engine(connection: Redis, facts: Mapping[str, str], architectures: Iterable[str]) -> None:
    """Store what the engines of this service are: versions and device, and the architectures that they can load."""
    fields: dict[Any, Any] = dict(facts)
    with connection.pipeline() as pipe:
        pipe.delete(ENGINE)
        pipe.hset(ENGINE, mapping=fields)
        pipe.sadd(ARCHITECTURES, *architectures)
        pipe.execute()


def engine_facts(connection: Redis) -> dict[str, str]:
    """Versions and device of the worker that started last; empty before the first one."""
    return text_redis(connection).hgetall(ENGINE)


def supports(connection: Redis, architecture: str) -> bool | None:
    """Whether some engine can load it; None while no worker has ever started."""
    if not connection.exists(ARCHITECTURES):
        return None
    return bool(connection.sismember(ARCHITECTURES, architecture))
