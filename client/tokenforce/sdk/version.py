"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tokenforce")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+unknown"

USER_AGENT = f"tokenforce/{__version__}"
