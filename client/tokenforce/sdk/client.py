"""The synchronous client: a thin shell over `flows` and `waiting`; `aio.py` is its twin."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx

from tokenforce.sdk import calls, hook_calls
from tokenforce.sdk.credentials import authorization
from tokenforce.sdk.events import follow
from tokenforce.sdk.fingerprints import Fingerprints
from tokenforce.sdk.fold_events import Following, path_of
from tokenforce.sdk.keys import Keys
from tokenforce.sdk.retries import Attempts, Watch
from tokenforce.sdk.stats import StatsCalls
from tokenforce.sdk.upload_hooks import Hooks
from tokenforce.sdk.version import USER_AGENT
from tokenforce.sdk.webhooks import Webhooks
from tokenforce.wire.audits import AuditAnswer
from tokenforce.wire.events import ScanEvent
from tokenforce.wire.findings import Finding
from tokenforce.wire.report import Report
from tokenforce.wire.scans import CustomContext, Preset, Priority, Progress, Scan

T = TypeVar("T")
Item = TypeVar("Item")


class Client:
    """Talks to one tokenforce service. Use it as a context manager, or `close()` it.

    Without `url` the address is that of `http_client`, else the environment variable `TOKENFORCE_URL`.
    Without `key` the API key is what `http_client` sends already, else that of `TOKENFORCE_KEY`.
    A given `http_client` stays yours to close. `timeout` limits each request, in seconds.
    Raises `NotConfigured` when there is no usable address, or the key cannot be one.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        http_client: httpx.Client | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.url = calls.service_url(url, str(http_client.base_url) if http_client else "")
        self._authorization = authorization(key, http_client.headers if http_client else None)
        self._owned = http_client is None
        self._http = http_client or httpx.Client(
            timeout=timeout, headers={"User-Agent": USER_AGENT}, trust_env=not calls.on_this_machine(self.url)
        )
        self.scans = Scans(self)
        self.fingerprints = Fingerprints(self)
        self.keys = Keys(self)
        self.webhooks = Webhooks(self)
        self.stats = StatsCalls(self)
        self.hooks = Hooks(self)

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _send(self, call: calls.Call[T], deadline: float = math.inf) -> T:
        attempts = Attempts(call, deadline)
        while True:
            try:
                response = self._http.request(
                    call.method,
                    self.url + call.path,
                    params=call.params,
                    headers={**self._authorization, **call.headers},
                    json=call.json,
                    content=call.content,
                )
            except httpx.RequestError as error:
                time.sleep(attempts.after_failure(error, self.url))
                continue
            pause = attempts.after_answer(response)
            if pause is None:
                return attempts.read(response)
            time.sleep(pause)

    def _items(self, call: calls.Call[calls.Page[Item]]) -> Iterator[Item]:
        following: calls.Call[calls.Page[Item]] | None = call
        while following is not None:
            page = self._send(following)
            yield from page.items
            following = calls.next_page(following, page)

    def events(self, *, last_event_id: str | None = None) -> Iterator[ScanEvent]:
        """What happens to all your scans from now on, or after the event `last_event_id`; connects again by itself.

        The service keeps the last 10,000 events; who was away for longer lists the scans.
        """
        return follow(self, Following(path_of(None), last_event_id, ends=False))

    def _stream(self, call: calls.Call[None], silence: float) -> AbstractContextManager[httpx.Response]:
        usual = self._http.timeout
        timeout = httpx.Timeout(connect=usual.connect, read=silence, write=usual.write, pool=usual.pool)
        headers = {**self._authorization, **call.headers}
        return self._http.stream(call.method, self.url + call.path, headers=headers, timeout=timeout)


class Scans:
    """`client.scans`.

    Every call may also raise `NotAuthenticated`, `NotPermitted`, `ConnectionFailed`, `ServiceUnavailable`,
    `ServerError` or `UnexpectedAnswer`.
    Every call is tried again a few times before that; a POST carries an idempotency key, and happens once.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self,
        *,
        model: str,
        reference: str | None = None,
        preset: str = Preset.standard,
        contexts: Sequence[str | CustomContext] | None = None,
        alpha: int | None = None,
        beta: int | None = None,
        floor: float | None = None,
        keep: int | None = None,
        force_ids: Sequence[int] | None = None,
        priority: str = Priority.normal,
        force: bool = False,
    ) -> Scan:
        """Queue a scan of a model; see `ScanRequest` for the options.

        Raises `InvalidRequest`, `Refused`, `RateLimited`, and `NotPermitted` for a priority that the key may not have.
        """
        request = calls.scan_request(
            model=model,
            reference=reference,
            preset=preset,
            contexts=contexts,
            alpha=alpha,
            beta=beta,
            floor=floor,
            keep=keep,
            force_ids=force_ids,
            priority=priority,
            force=force,
        )
        return self._client._send(calls.create(request))

    def get(self, scan_id: str) -> Scan:
        """One scan as it is now. Raises `NotFound`."""
        return self._client._send(calls.get(scan_id))

    def iter(
        self,
        *,
        status: str | Sequence[str] = (),
        model: str | None = None,
        since: datetime | None = None,
        page_size: int | None = None,
    ) -> Iterator[Scan]:
        """Your scans, the newest first, fetched page by page as you iterate.

        Only those in one of these statuses, of exactly this `model`, created at `since` or later.
        Raises `InvalidRequest`.
        """
        return self._client._items(calls.list_scans(status=status, model=model, since=since, page_size=page_size))

    def wait(
        self,
        scan_id: str,
        *,
        timeout: float | None = 3600.0,
        poll: float = 1.0,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Scan:
        """Look every `poll` seconds until the scan has succeeded; `on_progress` is called after every look.

        Raises `ScanFailed`, `ScanCancelled`, `NotFound`, and `WaitTimeout` after `timeout` seconds (None: never;
        a request that is under way then is finished first). The scan itself goes on after a `WaitTimeout`.
        """
        watch = Watch(scan_id, timeout=timeout, poll=poll, on_progress=on_progress)
        while True:
            scan = self._client._send(watch.look(), watch.deadline)
            pause = watch.pause_after(scan)
            if pause is None:
                return scan
            time.sleep(pause)

    def events(self, scan_id: str, *, last_event_id: str | None = None) -> Iterator[ScanEvent]:
        """What has happened to a scan and what happens, until it ends; connects again by itself. Raises `NotFound`."""
        return follow(self._client, Following(path_of(scan_id), last_event_id, ends=True))

    def findings(self, scan_id: str, *, order: str | None = None, page_size: int | None = None) -> Iterator[Finding]:
        """The ranking, fetched page by page as you iterate; partial while the scan runs. Raises `NotFound`."""
        return self._client._items(calls.findings(scan_id, order=order, page_size=page_size))

    def report(self, scan_id: str) -> Report:
        """The report of a scan that succeeded. Raises `NotFound`, and `Conflict` while there is none."""
        return self._client._send(calls.report(scan_id))

    def audit(self, scan_id: str) -> AuditAnswer:
        """What to do with the upload. Raises `NotFound`, and `Conflict` while the scan runs."""
        return self._client._send(hook_calls.audit(scan_id))

    def cancel(self, scan_id: str) -> Scan:
        """Stop a scan. Raises `NotFound`, and `Conflict` when it has ended already."""
        return self._client._send(calls.cancel(scan_id))
