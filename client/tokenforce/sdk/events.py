"""`client.events` and `client.scans.events` of both clients: thin shells over `events.Following`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import httpx

from tokenforce.sdk.fold_events import RECONNECT_SECONDS, SILENCE_SECONDS, Following
from tokenforce.wire.events import ScanEvent

if TYPE_CHECKING:
    from tokenforce.sdk.async_client import AsyncClient
    from tokenforce.sdk.client import Client


def follow(client: Client, following: Following) -> Iterator[ScanEvent]:
    """Every event until the stream is over; connects again, after the last event seen, when a connection ends."""
    while not following.over:
        call = following.connect()
        try:
            with client._stream(call, SILENCE_SECONDS) as response:
                pause = following.attempts.after_answer(response)
                if pause is None:
                    if response.is_error:
                        response.read()
                    following.answered(response)
                    for chunk in response.iter_bytes():
                        yield from following.events(chunk)
                        if following.over:
                            return
        except httpx.RequestError as error:
            pause = following.attempts.after_failure(error, client.url)
        if not following.over:
            time.sleep(RECONNECT_SECONDS if pause is None else pause)


async def follow_async(client: AsyncClient, following: Following) -> AsyncIterator[ScanEvent]:
    """`follow` with `await`."""
    while not following.over:
        call = following.connect()
        try:
            async with client._stream(call, SILENCE_SECONDS) as response:
                pause = following.attempts.after_answer(response)
                if pause is None:
                    if response.is_error:
                        await response.aread()
                    following.answered(response)
                    async for chunk in response.aiter_bytes():
                        for event in following.events(chunk):
                            yield event
                        if following.over:
                            return
        except httpx.RequestError as error:
            pause = following.attempts.after_failure(error, client.url)
        if not following.over:
            await asyncio.sleep(RECONNECT_SECONDS if pause is None else pause)
