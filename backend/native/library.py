"""Finds oneDNN on this machine: the wheel's library by its list of files, else the system's."""
from __future__ import annotations

import platform
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files

from ..errors import BackendError

PACKAGE, LIBRARY = "onednn-cpu-gomp", "libdnnl.so.3"
BUILD = "install a C++ compiler and Python's headers, then install gradatim again"


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
        raise BackendError("the native backend runs on Linux x86-64 only",
                           fix='use backend="auto", which takes the reference here')
    try:
        core = import_module("._core", __package__)
    except ModuleNotFoundError:
        raise BackendError("the compiled core of the native backend is not built",
                           fix=BUILD) from None
    except ImportError as error:           # built, but for another Python or without its libraries
        raise BackendError("the compiled core of the native backend cannot be loaded",
                           why=str(error), fix=BUILD) from None
    if not core.has_sse41():
        raise BackendError("the native backend needs a processor with SSE4.1",
                           fix='use backend="auto", which takes the reference here')
    try:
        return core, core.open_onednn(find_onednn())
    except RuntimeError as error:
        raise BackendError("oneDNN cannot be used", why=str(error),
                           fix=f"pip install {PACKAGE}") from None
