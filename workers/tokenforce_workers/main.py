"""Entry point of the worker process: settings, engine state, RQ loop."""

from __future__ import annotations

import logging
import os
import socket
import sys
import uuid

from redis import Redis

from tokenforce_core.queues.workers import publish_engine
from tokenforce_core.runtime import logs, tracing
from tokenforce_core.scans.store import Store
from tokenforce_workers.engine.engine_cache import EngineCache, install
from tokenforce_workers.engine.machine import engine_versions, prepare_environment, survey
from tokenforce_workers.settings import WorkerSettings
from tokenforce_workers.supervisor import NEVER_READY

log = logging.getLogger(__name__)


def main() -> int:
    """Work until asked to stop; a status other than 0 makes the supervisor start a new process."""
    settings = WorkerSettings()
    logs.configure(settings.log_format)
    tracing.configure("tokenforce-worker")
    machine = survey(settings)
    prepare_environment(machine)
    connection = Redis.from_url(settings.redis_url)
    store = Store(connection, settings.retention_seconds)
    state = EngineCache(store, settings, machine)
    install(state)

    try:
        from tokenforce_workers.engine.vllm_engine import (
            supported_architectures,  # loads vllm: the environment is set now
        )
        from tokenforce_workers.rq_worker import GpuWorker
    except Exception:
        log.exception("vLLM cannot be loaded on this machine; see `make setup` in the README")
        return NEVER_READY

    publish_engine(connection, {**engine_versions(), "device": machine.device}, supported_architectures())
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    worker = GpuWorker(state, connection, name)
    log.info("worker %s on %s, %d threads", name, machine.device, len(machine.threads))
    worker.work(logging_level="WARNING")
    state.close()
    return 0 if state.stopping.is_set() else 1


if __name__ == "__main__":
    sys.exit(main())
