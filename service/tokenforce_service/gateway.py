"""`python -m tokenforce_service.gateway`: the HTTP process."""

from __future__ import annotations

from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from tokenforce_core.runtime import logs, tracing
from tokenforce_service.app import create_app
from tokenforce_service.http.slow_requests import timed_protocol
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
        ws="none",  # there is no route for it
        access_log=False,  # `Observed` logs with the request id
        log_config=None,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
    )
    _Server(config).run()


class _Server(uvicorn.Server):
    """Ends the event streams when it is told to stop; it would wait for them otherwise."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        cast(FastAPI, self.config.app).state.streams.end()
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    main()
