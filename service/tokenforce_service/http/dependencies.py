"""What the app has one of, as dependencies of its routes: `store: TheStore`.

A room that has another such thing writes `The… = Annotated[Kind, provided(Kind)]` beside its class.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request

from tokenforce_core.scans.store import Store
from tokenforce_service.settings import ServiceSettings

T = TypeVar("T")


def provide(app: FastAPI, *things: object) -> None:
    """Put things into the app, where routes find them by their class."""
    app.state.provided = {type(thing): thing for thing in things}


def find(app: FastAPI, kind: type[T]) -> T:
    """The app's one thing of this class."""
    found: T = app.state.provided[kind]
    return found


def provided(kind: type[object]) -> Any:
    """The dependency that yields the app's one thing of this class."""

    async def from_app(request: Request) -> object:
        return find(request.app, kind)

    return Depends(from_app)


TheStore = Annotated[Store, provided(Store)]
TheSettings = Annotated[ServiceSettings, provided(ServiceSettings)]
