"""Which packages are in this environment, and of what version."""
from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed(*packages: str) -> str:
    """The version of the first of some packages that is here, or an empty text."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""
