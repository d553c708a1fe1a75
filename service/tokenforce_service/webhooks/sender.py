"""Sends deliveries that are due: claim one, POST it, record the outcome. Any number of processes may run this."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from redis.exceptions import RedisError

from tokenforce.wire.webhooks import DeliveryAttempt, DeliveryStatus
from tokenforce_core.scans.store import Store
from tokenforce_service.moments import moment
from tokenforce_service.webhooks.backoff import asked_pause, delivered, gone, next_attempt
from tokenforce_service.webhooks.delivery_store import MOST_LOGGED, Claim, DeliveryStore, StoredDelivery
from tokenforce_service.webhooks.emission import Emission
from tokenforce_service.webhooks.endpoint_store import Endpoint, EndpointStore
from tokenforce_service.webhooks.post import CheckedClient, Reply
from tokenforce_service.webhooks.signing import signed_headers

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_CONCURRENT = 64
"""Attempts that one process has under way at a time."""
LOOK_SECONDS = 0.5
"""Pause between two searches for deliveries that are due."""
_STORE_THREADS = 4
GONE = "the receiver answered 410 Gone; enable the endpoint to send to it again"


class Sender:
    """Call `run`. Redis is read in threads, so that a slow Redis does not extend the deadline of a receiver."""

    def __init__(self, store: Store, client: CheckedClient) -> None:
        self._client = client
        self._emission = Emission(store)
        self._endpoints = EndpointStore(store.connection)
        self._deliveries = DeliveryStore(store.connection)
        self._threads = ThreadPoolExecutor(_STORE_THREADS, "store")
        self._under_way: set[asyncio.Task[None]] = set()
        self._look_again = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set; then finish the attempts under way."""
        # Look-ups of names run in the threads of the loop; with too few, one slow name server would delay all others.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_CONCURRENT, "names"))
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._look_again.set())
        while not stop.is_set():
            # Each by itself: if ends of scans cannot be announced, what is queued is still sent.
            await self._look(lambda: self._in_thread(self._emission.announce_ends))
            await self._look(self._start_what_is_due)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_again.wait(), LOOK_SECONDS)
            self._look_again.clear()
        await asyncio.gather(*self._under_way)
        self._threads.shutdown()

    async def _look(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except RedisError as error:
            log.warning("cannot search for webhooks to send now: %s", error)
        except Exception as error:  # this loop must go on, or no webhook is ever sent again
            log.exception("cannot search for webhooks to send now: %s", error)

    async def _start_what_is_due(self) -> None:
        while (
            len(self._under_way) < MAX_CONCURRENT
            and (claim := await self._in_thread(self._deliveries.claim)) is not None
        ):
            task = asyncio.create_task(self._deliver(claim))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._look_again.set()  # its endpoint may have another delivery that is due

    async def _deliver(self, claim: Claim) -> None:
        event_id, at = claim.delivery.event_id, time.time()
        try:
            endpoint, reply = await self._reply(claim, at)
            if reply is None:
                return  # the endpoint has just been removed, with its deliveries
            after = after_attempt(claim.delivery, reply, at, retry=endpoint is None or endpoint.enabled)
            if endpoint is not None and gone(reply.status):
                await self._in_thread(lambda: self._endpoints.disable(endpoint, GONE))
            if not await self._in_thread(lambda: self._deliveries.record(claim, after)):
                log.warning("delivery %s to %s took longer than its lease", event_id, claim.webhook_id)
            said = reply.error or reply.status
            log.info(
                "delivery %s to %s: %s (%s, %.2f s)", event_id, claim.webhook_id, after.status, said, reply.seconds
            )
        except RedisError as error:
            # Its lease lapses, and it is sent again: each delivery is sent at least once.
            log.warning("cannot record delivery %s to %s now: %s", event_id, claim.webhook_id, error)

    async def _reply(self, claim: Claim, at: float) -> tuple[Endpoint | None, Reply | None]:
        """The endpoint, if it can be read, and the outcome of one attempt; no reply if the endpoint is gone.

        Raises:
            RedisError
        """
        try:
            endpoint = await self._in_thread(lambda: self._endpoints.get(claim.webhook_id))
            keys = await self._in_thread(lambda: self._endpoints.secrets(claim.webhook_id))
            if endpoint is None or not keys:
                return endpoint, None
            return endpoint, await self._attempt(endpoint, claim.delivery, keys, at)
        except RedisError:
            raise
        except Exception as error:  # it counts as an attempt, or it would be tried for ever
            log.exception("delivery %s to %s: %s", claim.delivery.event_id, claim.webhook_id, error)
            return None, Reply(time.time() - at, error="an error of the service; its log has details")

    async def _attempt(self, endpoint: Endpoint, delivery: StoredDelivery, keys: list[str], at: float) -> Reply:
        if not endpoint.enabled:
            return Reply(0.0, error="not sent, because the endpoint is disabled; enable it and replay this delivery")
        headers = signed_headers(delivery.event_id, delivery.body, keys, at)
        return await self._client.post(endpoint.url, headers, delivery.body.encode())

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def after_attempt(before: StoredDelivery, reply: Reply, at: float, *, retry: bool = True) -> StoredDelivery:
    """The delivery after an attempt that began at `at`: delivered, pending until the next attempt, or dead."""
    attempt = DeliveryAttempt(
        at=moment(at),
        seconds=round(reply.seconds, 3),
        status_code=reply.status,
        error=reply.error,
        excerpt=reply.excerpt,
    )
    now, attempts = at + reply.seconds, before.attempts + 1
    due = None
    if retry and not delivered(reply.status) and not gone(reply.status):
        due = next_attempt(attempts, before.since, now, asked_pause(reply.status, reply.retry_after, now))
    status = DeliveryStatus.dead if due is None else DeliveryStatus.pending
    if delivered(reply.status):
        status = DeliveryStatus.delivered
    log_of_it = [*before.log, attempt][-MOST_LOGGED:]
    changed = {"status": status, "attempts": attempts, "next_at": due, "log": log_of_it}
    return before.model_copy(update=changed)
