"""What `tokenforce doctor` looks at of the service: is it ready, what may the key do there, and who does the work."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec

import httpx

from tokenforce.cli.doctor.check import Check, Level
from tokenforce.cli.doctor.redis import place
from tokenforce.cli.local_stack import NEEDED, StackFailed
from tokenforce.cli.local_stack_state import running_stack
from tokenforce.sdk import calls, keys
from tokenforce.sdk.client import Client
from tokenforce.sdk.errors import ApiError, NotAuthenticated, NotConfigured, NotFound, NotPermitted, TokenforceError
from tokenforce.sdk.transport import KEY_VARIABLE, URL_VARIABLE
from tokenforce.sdk.version import __version__
from tokenforce.wire.keys import Scope

SECONDS = 10.0
SOON = timedelta(days=7)
NOBODY = "doctor"
"""An id that no scan has: cancelling it changes nothing, and tells whether the key might."""


def service_checks(url: str | None) -> list[Check]:
    """The service at `url` or TOKENFORCE_URL, else the local stack if one runs."""
    stack = running_stack() if not (url or os.environ.get(URL_VARIABLE)) else None
    try:
        if stack is not None:
            key, whose = stack.key(), "the local stack"
            client = Client(stack.url, key=key, timeout=SECONDS)
        elif url or os.environ.get(URL_VARIABLE):
            given = url not in (None, os.environ.get(URL_VARIABLE))
            client, whose = Client(url, timeout=SECONDS), "--url" if given else URL_VARIABLE
        else:
            return [_none()]
    except (NotConfigured, StackFailed) as error:
        return [Check("service", Level.fail, str(error), f"mend {URL_VARIABLE} or {KEY_VARIABLE}")]
    with client:
        answers = _answers(client, whose)
        return [answers] if answers.level is Level.fail else [answers, _key(client), _workers(client)]


def _none() -> Check:
    if all(find_spec(module) for module in NEEDED):
        return Check("service", Level.ok, f"no {URL_VARIABLE}; `tokenforce scan` starts a stack here (none runs now)")
    advice = f"set {URL_VARIABLE} and {KEY_VARIABLE} to use one, or `make setup` in a checkout to scan here"
    return Check("service", Level.fail, f"no {URL_VARIABLE}, and the local stack is not installed", advice)


def _answers(client: Client, whose: str) -> Check:
    shown = f"{whose} ({place(client.url)})"
    try:
        _ask(client, "GET", "/healthz")
        _ask(client, "GET", "/readyz")
        version = client.transport.send(calls.Call("GET", "/openapi.json", _version, attempts=1))
    except ApiError as error:
        return Check("service", Level.fail, f"{shown} is not ready: {error.code}: {error}", "look into its logs")
    except TokenforceError as error:
        return Check("service", Level.fail, f"{shown}: {error}", f"start it, or mend {URL_VARIABLE}")
    shown = f"{shown} is ready; its version is {version or 'unknown'}"
    if version in (None, __version__):
        return Check("service", Level.ok, shown)
    return Check("service", Level.warn, f"{shown}, this client's {__version__}", "install the service's version here")


def _version(response: httpx.Response) -> str | None:
    """Of the service, by its OpenAPI document; None if something in between hides that."""
    try:
        return str(response.json()["info"]["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _key(client: Client) -> Check:
    """Whether the key is taken, what it allows, and whether it ends soon."""
    name = "key"
    try:
        allowed = _scopes(client)
        ends = _end(client) if Scope.admin in allowed else None
    except NotAuthenticated as error:
        advice = f"set {KEY_VARIABLE} to a key (`tokenforce keys create`, by somebody with the scope admin)"
        return Check(name, Level.fail, str(error), advice)
    except TokenforceError as error:
        return Check(name, Level.fail, f"it could not be asked: {error}", "try again")
    shown = f"valid; it allows {', '.join(allowed) or 'nothing that could be asked'}"
    if ends is not None and ends - datetime.now(UTC) < SOON:
        return Check(
            name, Level.warn, f"{shown}; it ends {ends:%Y-%m-%d %H:%M}", "make a new one: `tokenforce keys create`"
        )
    missing = [scope for scope in (Scope.scans_read, Scope.scans_write) if not {scope, Scope.admin} & set(allowed)]
    if missing:
        return Check(name, Level.warn, shown, f"to scan it needs {' and '.join(missing)}; ask for such a key")
    return Check(name, Level.ok, shown)


def _scopes(client: Client) -> list[Scope]:
    """The scopes that show: one harmless request for each, because a key may not look itself up."""
    asked = {
        Scope.scans_read: ("GET", "/v1/scans"),
        Scope.scans_write: ("DELETE", f"/v1/scans/{NOBODY}"),
        Scope.hooks: ("GET", "/v1/hooks"),
        Scope.admin: ("GET", "/v1/keys"),
    }
    return [scope for scope, (method, path) in asked.items() if _allowed(client, method, path)]


def _allowed(client: Client, method: str, path: str) -> bool:
    try:
        _ask(client, method, path, calls.page_params(1) if method == "GET" else None)
    except NotPermitted:
        return False
    except NotFound:
        return True  # nothing is there, and the key might have changed it
    return True


def _workers(client: Client) -> Check:
    """Whether somebody plans and reports, and somebody has an engine; without either scans wait."""
    name = "workers"
    try:
        stats = client.stats.get()
    except (NotAuthenticated, NotPermitted):
        return Check(name, Level.ok, f"not asked: that needs a key with the scope {Scope.scans_read}")
    except TokenforceError as error:
        return Check(name, Level.warn, f"they could not be asked for: {error}", "try again")
    count = Counter(worker.kind for worker in stats.workers)
    busy = sum(worker.state != "idle" for worker in stats.workers)
    waiting = sum(queue.waiting for queue in stats.queues)
    shown = f"{count['control']} that plan and report, {count['engine']} with an engine; {busy} at work"
    shown += f", {waiting} jobs waiting" if waiting else ""
    needed = {"control": "python -m tokenforce_service.aggregator", "engine": "python -m tokenforce_workers"}
    missing = [command for kind, command in needed.items() if not count[kind]]
    if missing:
        advice = f"scans wait until there are both: run {' and '.join(f'`{command}`' for command in missing)}"
        return Check(name, Level.warn, shown, f"{advice}, with the service's REDIS_URL")
    return Check(name, Level.ok, shown)


def _end(client: Client) -> datetime | None:
    """When the admin's own key ends; None if never, or if the key cannot be told from its token."""
    parts = client.transport._authorization.get("Authorization", "").split("_")
    if len(parts) != 3:
        return None
    try:
        return client.transport.send(keys.get_call(parts[1])).expires_at
    except NotFound:
        return None


def _ask(client: Client, method: str, path: str, params: Mapping[str, str | int] | None = None) -> None:
    """One request without further attempts: a doctor says what is, not what becomes of it."""
    # The query of a path would be dropped: the client sends its parameters in its place.
    client.transport.send(calls.Call(method, path, calls.nothing, params=params or {}, attempts=1))
