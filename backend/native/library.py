"""Finds oneDNN on this machine: the wheel's library by its list of files, else the system's."""
from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, files

from ..errors import BackendError

PACKAGE, LIBRARY = "onednn-cpu-gomp", "libdnnl.so.3"


def find_onednn() -> str:
    """A path or name that the dynamic loader takes."""
    try:
        found = [f for f in files(PACKAGE) or () if f.name == LIBRARY]
    except PackageNotFoundError:
        found = []
    return str(found[0].locate()) if found else LIBRARY


def open_core():
    """The compiled core with oneDNN opened, and oneDNN's version.

    Raises
    ------
    BackendError
        With the one line that says what is missing.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise BackendError("the native backend runs on Linux x86-64 only")
    try:
        from . import _core
    except ImportError as error:
        raise BackendError("the compiled core is not built",
                           why=str(error),
                           fix="install a C++ compiler and Python's headers, then install "
                               "gradatim again") from None
    try:
        return _core, _core.open_onednn(find_onednn())
    except RuntimeError as error:
        raise BackendError("oneDNN cannot be used", why=str(error),
                           fix=f"pip install {PACKAGE}") from None
