"""The one door to what a scan request names: the target's weights, its adapter and its reference, as checked folders.

The gateway and the planner enter by it. The gateway sees what is on this machine; only the planner downloads.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Generic, Literal, TypeVar, overload

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.report import KNOWN_BASE
from tokenforce.wire.scans import ScanRequest
from tokenforce_service.models import hub
from tokenforce_service.models.adapter import Adapter, check_fit, inspect_adapter
from tokenforce_service.models.base_name import named_base
from tokenforce_service.models.folder import Folder, read_folder, resolve
from tokenforce_service.models.model import Model, inspect_model
from tokenforce_service.models.nearest_base import nearest_base
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings

log = logging.getLogger(__name__)

AUTO = "auto"
NONE = "none"


@dataclass(frozen=True)
class Opened:
    """A checked model. `name` is what a request or an upload calls it, `revision` the hub's commit."""

    name: str
    model: Model
    revision: str | None = None


@dataclass(frozen=True)
class OnHub:
    """A model that is not on this machine: nothing but its name is known."""

    name: str


Part = TypeVar("Part", bound=Opened | OnHub, covariant=True)


@dataclass(frozen=True)
class Target(Generic[Part]):
    """What is scanned. `loaded` are the weights that the engine loads: for an adapter, those of its base.

    `reference` is the model that it is contrasted with, and `source` says who named that one (None: no reference).
    """

    name: str
    revision: str | None
    loaded: Part
    adapter: Adapter | None
    reference: Part | None
    source: str | None


@dataclass(frozen=True)
class _Named:
    """Another model than the target. `source` says who named it, `role` what it is called in a refusal."""

    name: str
    source: str
    role: str = "reference"


@dataclass(frozen=True)
class _Place:
    """A folder that a name leads to. Its links may lead to `roots`; `revision` is the hub's commit."""

    path: Path
    roots: tuple[Path, ...]
    revision: str | None


class _Folders:
    """The folders of one request. Each name is looked up once, and each folder is read once, whatever names lead to it.

    A folder of the hub's cache that is also named by its path is two places: its links are checked against other roots.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._place = cache(self._find)
        self._read = cache(read_folder)
        self._inspect = cache(self._model)

    def folder(self, name: str) -> tuple[Folder, str | None]:
        """The folder of this name, and the hub's commit.

        Raises:
            Refusal: as of `resolve`, `download` and `read_folder`.
        """
        place = self._place(name)
        return self._read(place.path, place.roots), place.revision

    def model(self, name: str) -> Opened:
        """The whole model of this name.

        Raises:
            Refusal: also as of `inspect_model`.
        """
        place = self._place(name)
        return Opened(name, self._inspect(place.path, place.roots), place.revision)

    def _model(self, path: Path, roots: tuple[Path, ...]) -> Model:
        return inspect_model(self._read(path, roots), self._settings.max_model_bytes)

    def _find(self, name: str) -> _Place:
        settings = self._settings
        if name in settings.known_bases:
            path = Path(name).resolve()
            return _Place(path, (path, settings.cache_dir), None)  # snapshots of the hub are links within its cache
        if is_local(name):
            return _Place(resolve(name, settings.model_roots), tuple(settings.model_roots), None)
        snapshot = hub.download(name, settings.cache_dir, settings.max_model_bytes)
        return _Place(snapshot.path.resolve(), (settings.cache_dir,), snapshot.revision)


@overload
def open_target(request: ScanRequest, settings: ServiceSettings, *, reach_hub: Literal[True]) -> Target[Opened]: ...


@overload
def open_target(
    request: ScanRequest, settings: ServiceSettings, *, reach_hub: Literal[False]
) -> Target[Opened | OnHub]: ...


def open_target(request: ScanRequest, settings: ServiceSettings, *, reach_hub: bool) -> Target[Opened | OnHub]:
    """Find and check everything that a request names. Each file is read once, also where two names lead to it.

    Args:
        reach_hub: download what is on the hub; otherwise it stays `OnHub`, and with it whatever only its files say.

    Raises:
        Refusal: what is wrong with the target, its base or its reference; `hub_unreachable` for a hub id where the
            service works without a hub.
    """
    for name in filter(None, (request.model, request.reference)):
        hub.refuse_if_offline(name)
    named, folders = _asked(request), _Folders(settings)
    if not reach_hub and not is_local(request.model):
        reference = _open(named, folders, reach_hub) if named is not None else None
        return _target(request, None, OnHub(request.model), None, reference, named)
    folder, revision = folders.folder(request.model)
    if folder.is_adapter:
        adapter = inspect_adapter(folder)
        named = named or _base_of(adapter)
        base = _open(named, folders, reach_hub)
        if isinstance(base, Opened):
            check_fit(adapter, base.model)
        return _target(request, revision, base, adapter, base if request.reference != NONE else None, named)
    loaded = folders.model(request.model)
    if request.reference == AUTO:
        named = _base_in(folder, request.model)
    elif request.reference is None and reach_hub:
        named = _known_base(loaded.model, folders, settings)
    reference = _open(named, folders, reach_hub) if named is not None else None
    return _target(request, revision, loaded, None, reference, named)


def _target(
    request: ScanRequest,
    revision: str | None,
    loaded: Opened | OnHub,
    adapter: Adapter | None,
    reference: Opened | OnHub | None,
    named: _Named | None,
) -> Target[Opened | OnHub]:
    source = named.source if named is not None and reference is not None else None
    return Target(request.model, revision, loaded, adapter, reference, source)


def is_local(model: str) -> bool:
    """Folders are named by absolute paths; anything else is a hub id."""
    return model.startswith("/")


def _asked(request: ScanRequest) -> _Named | None:
    """The reference that the request names itself."""
    if request.reference in (None, AUTO, NONE):
        return None
    return _Named(str(request.reference), "request")


def _base_of(adapter: Adapter) -> _Named:
    if adapter.base is None:
        raise Refusal(
            ErrorCode.base_missing, "The adapter names no base model; name it as the `reference` of the scan."
        )
    hub.refuse_if_offline(adapter.base)
    return _Named(adapter.base, "adapter", "base that the adapter names")


def _base_in(folder: Folder, own_name: str) -> _Named:
    """The base that the files of a whole model name."""
    found = named_base(folder, own_name)
    if found is None:
        raise Refusal(
            ErrorCode.base_missing,
            "Neither config.json nor the model card names a base model; name the reference itself, or `none`.",
        )
    name, source = found
    hub.refuse_if_offline(name)
    return _Named(name, source, f"base that the upload's {source.replace('_', ' ')} names")


def _known_base(target: Model, folders: _Folders, settings: ServiceSettings) -> _Named | None:
    """The base that the operator knows and the target was made from; None if no known base is near."""
    bases: dict[str, Model] = {}
    for name in settings.known_bases:
        try:
            bases[name] = folders.model(name).model
        except Refusal as refusal:
            # A mistake of the operator's: scans go on without this base, and say that they have no reference.
            log.warning("the known base %s cannot be used: %s", name, refusal.detail)
    nearest = nearest_base(target, bases)
    return _Named(nearest, KNOWN_BASE, "known base") if nearest is not None else None


def _open(named: _Named, folders: _Folders, reach_hub: bool) -> Opened | OnHub:
    """A whole model by its name.

    Raises:
        Refusal: `base_missing` where a target would be `model_not_found`, else as for a target.
    """
    name, role = named.name, named.role
    if not is_local(name) and not hub.is_hub_id(name):
        raise Refusal(
            ErrorCode.base_missing,
            f"The {role}, {name[:200]!r}, is neither the absolute path of a folder nor a hub id; name it as the "
            "`reference` of the scan.",
        )
    if not is_local(name) and not reach_hub:
        return OnHub(name)
    try:
        if folders.folder(name)[0].is_adapter:
            raise Refusal(ErrorCode.base_missing, "this folder holds a LoRA adapter; name a whole model.")
        return folders.model(name)
    except Refusal as refusal:
        code = ErrorCode.base_missing if refusal.code == ErrorCode.model_not_found else refusal.code
        raise Refusal(code, f"The {role}: {refusal.detail}", status=refusal.status) from refusal
