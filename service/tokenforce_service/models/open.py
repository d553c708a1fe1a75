"""From the names in a request to checked folders: the target's weights, its adapter, its reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenforce.wire.problems import ErrorCode
from tokenforce.wire.scans import ScanRequest
from tokenforce_service.models import folder as uploads
from tokenforce_service.models import hub
from tokenforce_service.models.adapter import Adapter, check_fit, inspect_adapter, is_adapter
from tokenforce_service.models.base_name import named_base
from tokenforce_service.models.folder import Upload
from tokenforce_service.refusals import Refusal
from tokenforce_service.settings import ServiceSettings

AUTO = "auto"
NONE = "none"


@dataclass(frozen=True)
class Opened:
    """A checked model folder. `name` is how it was called, `revision` the hub's commit."""

    name: str
    upload: Upload
    revision: str | None = None


@dataclass(frozen=True)
class Target:
    """What is scanned: `loaded` are the weights that the engine loads, for an adapter its base's.

    `reference` is what it is contrasted with, and `source` who named that (None: nothing).
    """

    name: str
    revision: str | None
    loaded: Opened
    adapter: Adapter | None
    reference: Opened | None
    source: str | None


def open_target(request: ScanRequest, settings: ServiceSettings) -> Target:
    """Find, download and check everything that a request names.

    Raises:
        Refusal: whatever is wrong with the target, its base or its reference.
    """
    path, roots, revision = _folder(request.model, settings)
    if is_adapter(path):
        adapter = inspect_adapter(path, roots)
        base, source = _base_of(adapter, request, settings)
        check_fit(adapter, base.upload)
        contrasted = request.reference != NONE
        return Target(
            request.model, revision, base, adapter, base if contrasted else None, source if contrasted else None
        )
    loaded = Opened(request.model, _inspected(path, roots, settings), revision)
    reference, named_by = _reference_of(loaded, request, settings)
    return Target(request.model, revision, loaded, None, reference, named_by)


def is_local(model: str) -> bool:
    """Folders are named by absolute paths; anything else is a hub id."""
    return model.startswith("/")


def _base_of(adapter: Adapter, request: ScanRequest, settings: ServiceSettings) -> tuple[Opened, str]:
    """The base that the request names, else the one that the adapter names."""
    if request.reference not in (None, AUTO, NONE):
        return open_model(str(request.reference), settings, "reference"), "request"
    if adapter.base is None:
        raise Refusal(
            ErrorCode.base_missing, "The adapter names no base model; name it as the `reference` of the scan."
        )
    return open_model(adapter.base, settings, "base that the adapter names"), "adapter"


def _reference_of(target: Opened, request: ScanRequest, settings: ServiceSettings) -> tuple[Opened | None, str | None]:
    if request.reference in (None, NONE):
        return None, None
    if request.reference != AUTO:
        return open_model(str(request.reference), settings, "reference"), "request"
    found = named_base(target.upload.path, request.model)
    if found is None:
        raise Refusal(
            ErrorCode.base_missing,
            "Neither config.json nor the model card names a base model; name the reference itself, or `none`.",
        )
    name, source = found
    return open_model(name, settings, f"base that the upload's {source.replace('_', ' ')} names"), source


def open_model(name: str, settings: ServiceSettings, what: str) -> Opened:
    """A whole model under its name, which `what` says the part of in a refusal.

    Raises:
        Refusal: `base_missing` where a target would be `model_not_found`, else as for a target.
    """
    if not is_local(name) and not hub.is_hub_id(name):
        raise Refusal(
            ErrorCode.base_missing,
            f"The {what}, {name[:200]!r}, is neither the absolute path of a folder nor a hub id; name it as the "
            "`reference` of the scan.",
        )
    try:
        path, roots, revision = _folder(name, settings)
        if is_adapter(path):
            raise Refusal(ErrorCode.base_missing, "it is a LoRA adapter itself; name a whole model.")
        return Opened(name, _inspected(path, roots, settings), revision)
    except Refusal as refusal:
        code = ErrorCode.base_missing if refusal.code == ErrorCode.model_not_found else refusal.code
        raise Refusal(code, f"The {what}: {refusal.detail}", status=refusal.status) from refusal


def _folder(name: str, settings: ServiceSettings) -> tuple[Path, list[Path], str | None]:
    """(folder, roots that its links may lead to, commit)."""
    if is_local(name):
        return uploads.resolve(name, settings.model_roots), settings.model_roots, None
    snapshot = hub.download(name, settings.cache_dir, settings.max_model_gib * 2**30)
    return snapshot.path.resolve(), [settings.cache_dir], snapshot.revision


def _inspected(path: Path, roots: list[Path], settings: ServiceSettings) -> Upload:
    return uploads.inspect(path, roots, settings.max_model_gib * 2**30)
