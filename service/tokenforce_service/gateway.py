"""`python -m tokenforce_service.gateway`: the HTTP process."""

from __future__ import annotations

import logging

import uvicorn

from tokenforce_service.app import create_app
from tokenforce_service.settings import ServiceSettings


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = ServiceSettings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,  # `Observed` logs with the request id
        log_config=None,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
    )


if __name__ == "__main__":
    main()
