"""`python -m tokenforce_service.aggregator`: plans scans, writes reports, brings back lost work.

A forking RQ worker on the control queue, so that a tokenizer or template that crashes or hangs ends only its own child
process.
"""

from __future__ import annotations

import threading

from redis import Redis
from rq import Worker

from tokenforce_core.queues.jobs import CONTROL_QUEUE, SERIALIZER, ListedJob, queue
from tokenforce_core.runtime import logs, tracing
from tokenforce_core.scans.store import Store

# Imported before the fork, so that jobs start at once.
from tokenforce_service.planning import job as _planning  # noqa: F401
from tokenforce_service.reports import job as _reports  # noqa: F401
from tokenforce_service.scans.reaper import Reaper
from tokenforce_service.settings import ServiceSettings


def main() -> None:
    settings = ServiceSettings()
    logs.configure(settings.log_format)
    tracing.configure("tokenforce-aggregator", forks=True)
    connection = Redis.from_url(settings.redis_url)
    # The reaper has its own connections, because the worker uses its own across forks.
    store = Store(Redis.from_url(settings.redis_url, socket_timeout=10), settings.retention_seconds)
    stop = threading.Event()
    reaper = threading.Thread(target=Reaper(store).run, args=(stop, settings.reap_seconds), name="reaper", daemon=True)
    reaper.start()
    worker = Worker(
        [queue(CONTROL_QUEUE, connection)],
        connection=connection,
        job_class=ListedJob,
        serializer=SERIALIZER,
        maintenance_interval=10**9,
        log_job_description=False,
    )
    worker.work(logging_level="WARNING")
    stop.set()
    reaper.join(timeout=5)


if __name__ == "__main__":
    main()
