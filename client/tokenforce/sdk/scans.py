"""`client.scans`: start scans, wait for them, read what they found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from tokenforce.sdk.calls import Call, checked, once, page_params, path_of_one, reader
from tokenforce.sdk.events import Following, events_path, follow, follow_async
from tokenforce.sdk.retries import Looks, Wait
from tokenforce.sdk.transport import AsyncTransport, Transport
from tokenforce.sdk.verify_report import TOLERANCE, Verification, compared, request_of, to_verify
from tokenforce.wire.audits import AuditAnswer
from tokenforce.wire.events import ScanEvent
from tokenforce.wire.findings import Finding
from tokenforce.wire.report import Report
from tokenforce.wire.scans import (
    CustomContext,
    FindingsPage,
    KnownText,
    Preset,
    Priority,
    Progress,
    Scan,
    ScanPage,
    ScanRequest,
)

PATH = "/v1/scans"


def scan_request(**options: Any) -> ScanRequest:
    """The body of a new scan. Raises `InvalidRequest`, as the service would."""
    return checked(ScanRequest, options)


def create_call(request: ScanRequest) -> Call[Scan]:
    body = request.model_dump(mode="json", exclude_none=True)
    return Call("POST", PATH, reader(Scan), json=body, headers=once())


def list_call(
    *,
    status: str | Sequence[str] = (),
    model: str | None = None,
    since: datetime | None = None,
    page_size: int | None = None,
) -> Call[ScanPage]:
    params: dict[str, str | int | list[str]] = {**page_params(page_size)}
    if status:
        params["status"] = [str(each) for each in ([status] if isinstance(status, str) else status)]
    if model is not None:
        params["model"] = model
    if since is not None:
        # Without an offset it is this machine's local time, as everywhere in Python; the service would read it as UTC.
        params["since"] = since.astimezone(UTC).isoformat()
    return Call("GET", PATH, reader(ScanPage), params=params)


def get_call(scan_id: str) -> Call[Scan]:
    return Call("GET", _path(scan_id), reader(Scan))


def findings_call(scan_id: str, *, order: str | None, page_size: int | None) -> Call[FindingsPage]:
    params = {**({"order": str(order)} if order else {}), **page_params(page_size)}
    return Call("GET", f"{_path(scan_id)}/findings", reader(FindingsPage), params=params)


def report_call(scan_id: str) -> Call[Report]:
    return Call("GET", f"{_path(scan_id)}/report", reader(Report))


def audit_call(scan_id: str) -> Call[AuditAnswer]:
    return Call("GET", f"{_path(scan_id)}/audit", reader(AuditAnswer))


def cancel_call(scan_id: str) -> Call[Scan]:
    return Call("DELETE", _path(scan_id), reader(Scan))


def _path(scan_id: str) -> str:
    return path_of_one(PATH, scan_id, "scan")


class Scans:
    """`client.scans`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        model: str,
        reference: str | None = None,
        preset: str = Preset.standard,
        depth: str | None = None,
        contexts: Sequence[str | CustomContext] | None = None,
        alpha: int | None = None,
        beta: int | None = None,
        floor: float | None = None,
        keep: int | None = None,
        force_ids: Sequence[int] | None = None,
        drawn_contexts: Sequence[CustomContext] | None = None,
        known_texts: Sequence[KnownText] | None = None,
        priority: str = Priority.normal,
        force: bool = False,
    ) -> Scan:
        """Start a scan of a model. `ScanRequest` explains the options.

        Raises `InvalidRequest`, `Refused`, `RateLimited`, and `NotPermitted` if the key may not use this priority.
        """
        request = scan_request(
            model=model,
            reference=reference,
            preset=preset,
            depth=depth,
            contexts=contexts,
            alpha=alpha,
            beta=beta,
            floor=floor,
            keep=keep,
            force_ids=force_ids,
            drawn_contexts=drawn_contexts,
            known_texts=known_texts,
            priority=priority,
            force=force,
        )
        return self._transport.send(create_call(request))

    def get(self, scan_id: str) -> Scan:
        """One scan, as it is now. Raises `NotFound`."""
        return self._transport.send(get_call(scan_id))

    def iter(
        self,
        *,
        status: str | Sequence[str] = (),
        model: str | None = None,
        since: datetime | None = None,
        page_size: int | None = None,
    ) -> Iterator[Scan]:
        """Your scans, newest first, fetched page by page while you iterate. Raises `InvalidRequest`.

        Args:
            status: only scans with this status, or one of these.
            model: only scans of exactly this model.
            since: only scans created at this time or later.
            page_size: scans per request.
        """
        return self._transport.items(list_call(status=status, model=model, since=since, page_size=page_size))

    def wait(
        self,
        scan_id: str,
        *,
        timeout: float | None = 3600.0,
        poll: float = 1.0,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Scan:
        """Wait until the scan has succeeded.

        Args:
            timeout: seconds; None for no limit. A request that is being sent at that moment is finished first.
            poll: seconds between two looks at the scan.
            on_progress: called after every look.

        Raises:
            ScanFailed, ScanCancelled: the scan ended in another way.
            WaitTimeout: the time is over. The scan itself continues.
            NotFound: there is no such scan.
        """
        looks, wait = Looks(get_call(scan_id)), Wait(timeout=timeout, poll=poll, on_progress=on_progress)
        while True:
            scan = self._transport.send(looks.next(), wait.deadline)
            pause = wait.pause_after(scan)
            if pause is None:
                return scan
            self._transport.pause(pause)

    def events(self, scan_id: str, *, last_event_id: str | None = None) -> Iterator[ScanEvent]:
        """Events of one scan, from its start until it ends. Reconnects by itself. Raises `NotFound`."""
        return follow(self._transport, Following(events_path(_path(scan_id)), last_event_id, ends=True))

    def findings(self, scan_id: str, *, order: str | None = None, page_size: int | None = None) -> Iterator[Finding]:
        """The ranking, fetched page by page while you iterate; partial while the scan runs. Raises `NotFound`."""
        return self._transport.items(findings_call(scan_id, order=order, page_size=page_size))

    def report(self, scan_id: str) -> Report:
        """The report of a scan that has succeeded. Raises `NotFound`, and `Conflict` if there is no report yet."""
        return self._transport.send(report_call(scan_id))

    def verify(
        self,
        report: Report,
        *,
        model: str | None = None,
        reference: str | None = None,
        top: int | None = None,
        tolerance: float = TOLERANCE,
        timeout: float | None = 3600.0,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Verification:
        """Repeat the findings of a report on its model: force the same tokens, compare texts and probabilities.

        Args:
            model, reference: where they are now. Default: where the report's scan found them.
            top: repeat only so many findings.
            tolerance: largest difference between two mean probabilities.
            timeout, on_progress: as in `wait`.

        Raises:
            NothingToVerify: the report has no finding.
            The errors of `create` and `wait`.
        """
        findings = to_verify(report, top)
        scan = self._transport.send(create_call(request_of(report, findings, model, reference)))
        self.wait(scan.id, timeout=timeout, on_progress=on_progress)
        return compared(report, findings, self.report(scan.id), tolerance)

    def audit(self, scan_id: str) -> AuditAnswer:
        """What to do with the upload. Raises `NotFound`, and `Conflict` while the scan runs."""
        return self._transport.send(audit_call(scan_id))

    def cancel(self, scan_id: str) -> Scan:
        """Stop a scan. Raises `NotFound`, and `Conflict` if it has ended already."""
        return self._transport.send(cancel_call(scan_id))


class AsyncScans:
    """`client.scans` with `await`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        *,
        model: str,
        reference: str | None = None,
        preset: str = Preset.standard,
        depth: str | None = None,
        contexts: Sequence[str | CustomContext] | None = None,
        alpha: int | None = None,
        beta: int | None = None,
        floor: float | None = None,
        keep: int | None = None,
        force_ids: Sequence[int] | None = None,
        drawn_contexts: Sequence[CustomContext] | None = None,
        known_texts: Sequence[KnownText] | None = None,
        priority: str = Priority.normal,
        force: bool = False,
    ) -> Scan:
        """As `Scans.create`, with `await`."""
        request = scan_request(
            model=model,
            reference=reference,
            preset=preset,
            depth=depth,
            contexts=contexts,
            alpha=alpha,
            beta=beta,
            floor=floor,
            keep=keep,
            force_ids=force_ids,
            drawn_contexts=drawn_contexts,
            known_texts=known_texts,
            priority=priority,
            force=force,
        )
        return await self._transport.send(create_call(request))

    async def get(self, scan_id: str) -> Scan:
        """As `Scans.get`, with `await`."""
        return await self._transport.send(get_call(scan_id))

    def iter(
        self,
        *,
        status: str | Sequence[str] = (),
        model: str | None = None,
        since: datetime | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Scan]:
        """As `Scans.iter`, with `async for`."""
        return self._transport.items(list_call(status=status, model=model, since=since, page_size=page_size))

    async def wait(
        self,
        scan_id: str,
        *,
        timeout: float | None = 3600.0,
        poll: float = 1.0,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Scan:
        """As `Scans.wait`, with `await`."""
        looks, wait = Looks(get_call(scan_id)), Wait(timeout=timeout, poll=poll, on_progress=on_progress)
        while True:
            scan = await self._transport.send(looks.next(), wait.deadline)
            pause = wait.pause_after(scan)
            if pause is None:
                return scan
            await self._transport.pause(pause)

    def events(self, scan_id: str, *, last_event_id: str | None = None) -> AsyncIterator[ScanEvent]:
        """As `Scans.events`, with `async for`."""
        return follow_async(self._transport, Following(events_path(_path(scan_id)), last_event_id, ends=True))

    def findings(
        self, scan_id: str, *, order: str | None = None, page_size: int | None = None
    ) -> AsyncIterator[Finding]:
        """As `Scans.findings`, with `async for`."""
        return self._transport.items(findings_call(scan_id, order=order, page_size=page_size))

    async def report(self, scan_id: str) -> Report:
        """As `Scans.report`, with `await`."""
        return await self._transport.send(report_call(scan_id))

    async def verify(
        self,
        report: Report,
        *,
        model: str | None = None,
        reference: str | None = None,
        top: int | None = None,
        tolerance: float = TOLERANCE,
        timeout: float | None = 3600.0,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> Verification:
        """As `Scans.verify`, with `await`."""
        findings = to_verify(report, top)
        scan = await self._transport.send(create_call(request_of(report, findings, model, reference)))
        await self.wait(scan.id, timeout=timeout, on_progress=on_progress)
        return compared(report, findings, await self.report(scan.id), tolerance)

    async def audit(self, scan_id: str) -> AuditAnswer:
        """As `Scans.audit`, with `await`."""
        return await self._transport.send(audit_call(scan_id))

    async def cancel(self, scan_id: str) -> Scan:
        """As `Scans.cancel`, with `await`."""
        return await self._transport.send(cancel_call(scan_id))
