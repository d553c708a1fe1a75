"""Checks of the service: is it ready, does it accept the key, do its workers live?"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec

from tokenforce.cli.doctor.check import Check, Level, judged
from tokenforce.cli.exit_codes import explain
from tokenforce.cli.local_stack import NEEDED, running_stack
from tokenforce.sdk.calls import Call, nothing
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import NotAuthenticated, NotPermitted, TokenforceError
from tokenforce.sdk.stats import get_call
from tokenforce.sdk.transport import KEY_VARIABLE, URL_VARIABLE

SECONDS = 1.5  # for each request, until nothing comes for so long
START_IT = f"start it, read its logs, or fix {URL_VARIABLE} and {KEY_VARIABLE}"
WORKERS = {"control": "python -m tokenforce_service.aggregator", "engine": "python -m tokenforce_workers"}


def service_checks(url: str | None) -> list[Check]:
    """The service at `url` or TOKENFORCE_URL, else the local stack if it runs."""
    stack = None if (url := url or os.environ.get(URL_VARIABLE)) else running_stack()
    if not url and stack is None:
        missing = [module for module in NEEDED if find_spec(module) is None]
        advice = f"set {URL_VARIABLE} and {KEY_VARIABLE}, or run `make setup` in a checkout to scan on this machine"
        found = f"no {URL_VARIABLE}; `tokenforce scan` starts a local stack, which needs {', '.join(NEEDED)}"
        return [judged("service", found, (missing, Level.fail, advice))]
    try:
        with Client(stack.url, key=stack.key(), timeout=SECONDS) if stack else Client(url, timeout=SECONDS) as client:
            client.transport.send(Call("GET", "/readyz", nothing, attempts=1))
            return [Check("service", Level.ok, f"{client.transport.place} is ready"), *_key_and_workers(client)]
    except TokenforceError as error:
        return [Check("service", Level.fail, f"not ready: {explain(error)}", START_IT)]


def _key_and_workers(client: Client) -> list[Check]:
    try:
        client.transport.send(Call("GET", "/v1/scans", nothing, params={"limit": 1}, attempts=1))
        return [Check("key", Level.ok, "the service accepts it"), _workers(client)]
    except TokenforceError as error:
        make = f"set {KEY_VARIABLE} to a valid key; an admin makes one with `tokenforce keys create`"
        few = (isinstance(error, NotPermitted), Level.warn, "ask an admin for a key with scans:read and scans:write")
        wrong = (isinstance(error, NotAuthenticated), Level.fail, make)
        return [judged("key", explain(error), few, wrong, (True, Level.fail, "try again"))]


def _workers(client: Client) -> Check:
    stats = client.transport.send(replace(get_call(), attempts=1))
    kinds = [worker.kind for worker in stats.workers]
    control, engine, waiting = kinds.count("control"), kinds.count("engine"), sum(q.waiting for q in stats.queues)
    found = f"{control} for planning and reports, {engine} with an engine; {waiting} jobs wait"
    missing = " and ".join(f"`{command}`" for kind, command in WORKERS.items() if kind not in kinds)
    advice = f"scans wait until you run {missing} with the service's REDIS_URL"
    return judged("workers", found, (missing, Level.warn, advice))
