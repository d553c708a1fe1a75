"""`python -m tokenforce_service.gateway`: the HTTP process."""

from __future__ import annotations

from types import FrameType

import uvicorn

from tokenforce_core.runtime import logs, tracing
from tokenforce_service.app import create_app
from tokenforce_service.http.dependencies import find
from tokenforce_service.http.request_limits import timed_protocol
from tokenforce_service.scans.event_streams import EventStreams
from tokenforce_service.settings import ServiceSettings


def main() -> None:
    settings = ServiceSettings()
    logs.configure(settings.log_format)
    tracing.configure("tokenforce-gateway")
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=timed_protocol(settings.receive_seconds),
        ws="none",  # no route uses it
        access_log=False,  # `Observed` logs each request with its id
        log_config=None,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
    )
    _Server(config, find(app, EventStreams)).run()


class _Server(uvicorn.Server):
    """Ends the event streams when it receives a signal to stop; otherwise it would wait for them."""

    def __init__(self, config: uvicorn.Config, streams: EventStreams) -> None:
        super().__init__(config)
        self._streams = streams

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._streams.end()
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    main()
