"""Brings back work that was lost with a process: abandoned jobs, stages that did not start, failed shards.

Runs in the aggregator. RQ's own maintenance must not run twice at once, and its lock stays for 15 minutes if its holder
dies, so the reaper has a short lock of its own.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, SimpleWorker
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import clean_registries
from rq.worker_registration import clean_worker_registry

from tokenforce.wire.problems import ErrorCode
from tokenforce_core.queues.counters import RETRIES, count
from tokenforce_core.queues.jobs import CONTROL_QUEUE, SERIALIZER, ListedJob, job_id, queue
from tokenforce_core.scans.stages import NeededJob, needed_work, start_what_is_due
from tokenforce_core.scans.store import Store
from tokenforce_service.refusals import Refusal

log = logging.getLogger(__name__)

LOCK = "tf:reaper"
LOCK_SECONDS = 30
_UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_FORGET_EMPTY = """
if redis.call('LLEN', KEYS[2]) == 0 and redis.call('LLEN', KEYS[3]) == 0 and redis.call('ZCARD', KEYS[4]) == 0 then
  return redis.call('SREM', KEYS[1], KEYS[2])
end
return 0
"""


class Reaper:
    """Call `reap` every few seconds, from as many processes as you like."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._redis: Redis = store.connection
        self._unlock = self._redis.register_script(_UNLOCK)
        self._forget = self._redis.register_script(_FORGET_EMPTY)

    def run(self, stop: threading.Event, pause: float) -> None:
        while not stop.wait(pause):
            try:
                self.reap()
            except RedisError as error:
                log.warning("cannot search for lost work now: %s", error)
            except Exception as error:  # this thread must go on, or lost work never comes back
                log.exception("cannot search for lost work now: %s", error)

    def reap(self) -> bool:
        """One round; False if another process has the lock."""
        token = secrets.token_hex(8)
        if not self._redis.set(LOCK, token, nx=True, ex=LOCK_SECONDS):
            return False
        try:
            for name in self._queue_names():
                _guarded(self._clean, name)
            for scan_id in self._store.active():
                _guarded(self._reconcile, scan_id)
            self._store.index.forget_expired()
        finally:
            self._unlock(keys=[LOCK], args=[token])
        return True

    def _queue_names(self) -> list[str]:
        keys = self._store.redis.smembers(Queue.redis_queues_keys)
        return sorted(key.removeprefix(Queue.redis_queue_namespace_prefix) for key in keys)

    def _clean(self, name: str) -> None:
        """Requeue (or fail) jobs whose lease has lapsed; remove empty queues of models."""
        lost = queue(name, self._redis)
        clean_registries(lost)
        clean_worker_registry(lost)
        worker = SimpleWorker(
            [lost], connection=self._redis, job_class=ListedJob, serializer=SERIALIZER, prepare_for_work=False
        )
        lost.intermediate_queue.cleanup(worker, lost)
        if name != CONTROL_QUEUE:
            self._forget(keys=[Queue.redis_queues_keys, lost.key, lost.intermediate_queue.key, f"rq:wip:{name}"])

    def _reconcile(self, scan_id: str) -> None:
        """Bring one scan forward, or end it if its stored data cannot be read."""
        try:
            status = self._store.status(scan_id)
            if status is None:
                # Its process died before it stored the scan, or is about to store it.
                self._store.forget_unstored(scan_id)
            elif status.final:
                self._store.settle(scan_id)  # its process died before it did that
            else:
                self._carry_on(scan_id)
        except (ValueError, DeserializationError) as error:  # ValueError: pydantic's, JSON's and enums' too
            log.exception("scan %s cannot be read", scan_id)
            reason = f"{type(error).__name__} in its stored data"
            if not self._end(scan_id, _cannot_continue(reason)):
                self._store.settle(scan_id)

    def _carry_on(self, scan_id: str) -> None:
        """Start the stage that is due, and make sure that its jobs exist and have not failed."""
        start_what_is_due(self._store, scan_id)
        for work in needed_work(self._store, scan_id):
            self._look_after(scan_id, work)

    def _look_after(self, scan_id: str, work: NeededJob) -> None:
        key = job_id(scan_id, work.name, work.shard)
        state = self._store.redis.hget(Job.key_for(key), "status")
        if state is None:
            log.warning("job %s was missing; enqueued again", key)
            self._again(scan_id, work)
        elif state in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED):
            self._fail(scan_id, key)
        elif state == JobStatus.FINISHED and self._still_needed(scan_id, work):
            Job.fetch(key, connection=self._redis, serializer=SERIALIZER).delete()
            self._again(scan_id, work)

    def _again(self, scan_id: str, work: NeededJob) -> None:
        if work.enqueue(self._store, scan_id):
            count(self._redis, RETRIES)

    def _still_needed(self, scan_id: str, work: NeededJob) -> bool:
        """A job may finish between two reads; only a job that left its work undone runs again."""
        return work in list(needed_work(self._store, scan_id))

    def _fail(self, scan_id: str, key: str) -> None:
        try:
            job = Job.fetch(key, connection=self._redis, serializer=SERIALIZER)
        except NoSuchJobError:
            return  # it has just expired, and the next round creates it again
        result = job.latest_result()
        trace = (result.exc_string if result is not None else None) or ""
        reason = trace.strip().splitlines()[-1][:300] if trace.strip() else "its process died"
        if "DeadlineExceeded" in reason:
            refusal = Refusal(
                ErrorCode.deadline_exceeded, f"A part of the scan took too long ({reason}); lower keep or beta."
            )
        elif job.origin == CONTROL_QUEUE:
            refusal = _cannot_continue(f"planning or reporting failed three times: {reason}")
        else:
            refusal = Refusal(
                ErrorCode.engine_failed, f"A part of the scan failed three times ({reason}); see the worker's log."
            )
        self._end(scan_id, refusal)

    def _end(self, scan_id: str, refusal: Refusal) -> bool:
        """Fail the scan, unless it has ended."""
        ended = self._store.fail(scan_id, refusal.problem(instance=f"/v1/scans/{scan_id}"))
        if ended:
            log.error("scan %s failed: %s", scan_id, refusal.detail)
        return ended


def _guarded(look_after: Callable[[str], None], name: str) -> None:
    """Handle one queue or scan; its errors must not stop the others.

    Raises:
        RedisConnectionError, RedisTimeoutError: no other can be handled either.
    """
    try:
        look_after(name)
    except (RedisConnectionError, RedisTimeoutError):
        raise
    except Exception as error:  # it concerns only this one
        log.exception("cannot bring back the work of %s: %s", name, error)


def _cannot_continue(reason: str) -> Refusal:
    return Refusal(ErrorCode.internal_error, f"The scan cannot continue ({reason}); start it again.")
