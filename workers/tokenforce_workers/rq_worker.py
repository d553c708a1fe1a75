"""An RQ worker that keeps an engine warm.

RQ 3.0's `SimpleWorker` runs jobs in its own process, as a warm engine needs, but it sends no
heartbeat during a job, loses jobs that die between BLPOP and start, sees only the queues it was
started with and interrupts jobs by SIGALRM. This subclass changes those four things; it touches
semi-private methods, so `rq` is pinned, and tests/integration/workers, tests/integration/engine/test_watchdog.py and
tests/e2e/test_recovery.py check the behaviour.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.job import Job
from rq.timeouts import BaseDeathPenalty
from rq.worker import WorkerStatus

from tokenforce_core.queues.fairness import QueueTurns
from tokenforce_core.queues.jobs import MODEL_QUEUE_PREFIX, SERIALIZER, ListedJob, queue
from tokenforce_core.queues.workers import announce
from tokenforce_core.runtime.text_redis import text_redis
from tokenforce_workers.engine.engine_cache import EngineCache
from tokenforce_workers.engine.vllm_engine import EngineUnclean
from tokenforce_workers.jobs.control import DeadlineExceeded, Stopping

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
OUTAGE_PAUSE_SECONDS = 2.0


class NoAlarm(BaseDeathPenalty):
    """No SIGALRM into the engine: `Control` checks the deadline between steps."""

    def setup_death_penalty(self) -> None:
        pass

    def cancel_death_penalty(self) -> None:
        pass


class GpuWorker(SimpleWorker):
    """Drains the queue of the loaded model, within the limits of `QueueTurns`."""

    death_penalty_class = NoAlarm
    job_class = ListedJob

    def __init__(self, state: EngineCache, connection: Redis, name: str) -> None:
        super().__init__(
            [],
            name=name,
            connection=connection,
            serializer=SERIALIZER,
            job_class=ListedJob,
            log_job_description=False,
        )
        self._state_of_engine = state
        self._turns = QueueTurns(state.settings.fair_after)
        self._wanted = ("", "")
        """Model of the last job, and owner of its scan."""

    @property
    def should_run_maintenance_tasks(self) -> bool:
        # RQ's own maintenance holds a lock for 15 minutes if its holder dies; the aggregator's reaper does it.
        return False

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002
        return self._state_of_engine.settings.lease_seconds

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """RQ's heartbeat, with what the statistics show about this worker."""
        super().heartbeat(timeout, pipeline)
        state = self._state_of_engine
        model, owner = self._wanted if state.loaded or state.loading else ("", "")
        target = self.connection if pipeline is None else pipeline
        announce(target, self.name, device=state.machine.device, model=model, owner=owner, loading=state.loading)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: the running shard goes back to its queue between two engine steps."""
        self._state_of_engine.stopping.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Poll the model queues, one queue per dequeue: only then RQ uses LMOVE, which loses no job."""
        self.set_state(WorkerStatus.IDLE)
        started, last_beat = time.monotonic(), 0.0
        while not self._stop_requested:
            try:
                if time.monotonic() - last_beat > HEARTBEAT_SECONDS:
                    self.heartbeat()
                    last_beat = time.monotonic()
                if (found := self._dequeue()) is not None:
                    return found
            except (RedisConnectionError, RedisTimeoutError) as error:
                log.warning("Redis cannot be reached, the engine stays warm: %s", error)
                time.sleep(OUTAGE_PAUSE_SECONDS)
            if timeout is None or (max_idle_time and time.monotonic() - started > max_idle_time):
                return None
            time.sleep(self._state_of_engine.settings.poll_seconds)
        return None

    def _dequeue(self) -> tuple[Job, Queue] | None:
        waiting = self._waiting()
        for name in self._turns.order(waiting):
            found = Queue.dequeue_any(
                [queue(name, self.connection)],
                None,
                connection=self.connection,
                job_class=ListedJob,
                serializer=SERIALIZER,
                death_penalty_class=NoAlarm,
            )
            if found is not None:
                job, from_queue = found
                job.redis_server_version = self.get_redis_server_version()  # type: ignore[no-untyped-call]
                self._turns.took(name, waiting)
                self.heartbeat()
                return job, from_queue
        return None

    def _waiting(self) -> dict[str, int]:
        """The model queues that are not empty, with their lengths."""
        keys = text_redis(self.connection).smembers(Queue.redis_queues_keys)
        known = (key.removeprefix(Queue.redis_queue_namespace_prefix) for key in keys)
        names = sorted(name for name in known if name.startswith(MODEL_QUEUE_PREFIX))
        with self.connection.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.llen(Queue.redis_queue_namespace_prefix + name)
            lengths = dict(zip(names, pipe.execute(), strict=True))
        return {name: length for name, length in lengths.items() if length}

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run the job with a heartbeat beside it; replace the process if the engine cannot be trusted."""
        done = threading.Event()
        heart = threading.Thread(target=self._beat, args=(job, execution, done), name="heartbeat", daemon=True)
        heart.start()
        try:
            return super().perform_job(job, queue, execution)
        finally:
            done.set()
            heart.join()

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        super().handle_exception(job, *exc_info)
        kind = exc_info[0]
        if kind is not None and issubclass(kind, Stopping):
            job.retries_left = (job.retries_left or 0) + 1  # a shutdown is not the shard's fault
        if kind is not None and issubclass(kind, DeadlineExceeded):
            job.retries_left = 0  # it would take as long again
        if kind is not None and (issubclass(kind, EngineUnclean) or kind.__name__ == "EngineDeadError"):
            log.error("the engine is broken; this process ends and the supervisor starts another")
            self._stop_requested = True

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:  # noqa: ARG002
        super().prepare_job_execution(job, True)

    def _beat(self, job: Job, execution: Execution, done: threading.Event) -> None:
        """Renew the lease while the engine makes steps or loads; end a process whose engine hangs."""
        state = self._state_of_engine
        state.last_step = time.monotonic()
        self._note_model(job)
        while not done.wait(state.settings.lease_seconds / 4):
            silent = time.monotonic() - state.last_step
            if silent > (state.settings.load_seconds if state.loading else state.settings.stall_seconds):
                log.error("the engine has made no step for %.0f s; this process ends", silent)
                os.kill(os.getpid(), signal.SIGKILL)  # a hung kernel call ignores everything less
            try:
                self.maintain_heartbeats(job, execution)
            except (RedisError, ValueError, KeyError) as error:  # this thread is the watchdog too: it goes on
                log.warning("heartbeat failed: %s", error)

    def _note_model(self, job: Job) -> None:
        try:
            row = self._state_of_engine.store.row(str(job.args[0]))
        except (RedisError, ValueError, KeyError) as error:  # the last two: what is stored of it cannot be read
            log.warning("the statistics will show the model before: %s", error)
            return
        if row is not None:
            self._wanted = (row.request.model, row.owner)
