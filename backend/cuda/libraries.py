"""Libraries of NVIDIA: found in their wheels or where the system has them, opened by ctypes."""
from __future__ import annotations

import ctypes
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

from ..errors import BackendError

INSTALL = 'pip install "gradatim[cuda13]", or "gradatim[cuda12]" for a driver older than 580'


class Library(NamedTuple):
    """What a library is for, the wheels that hold it, how its file's name begins."""
    purpose: str
    wheels: tuple[str, ...]
    prefix: str
    system: tuple[str, ...]                    # names that the system's loader may know


LIBRARIES = {
    "NVRTC": Library("compiles kernels", ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"),
                     "libnvrtc.so", ("libnvrtc.so.13", "libnvrtc.so.12")),
    "cublasLt": Library("multiplies matrices", ("nvidia-cublas", "nvidia-cublas-cu12"),
                        "libcublasLt.so", ("libcublasLt.so.13", "libcublasLt.so.12")),
    "cuDNN": Library("computes convolutions and recurrent layers",
                     ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"), "libcudnn.so.9",
                     ("libcudnn.so.9",)),
}


def wheel_file(wheels: tuple[str, ...], prefix: str) -> Path | None:
    """The first installed file of these wheels whose name begins so."""
    for wheel in wheels:
        try:
            found = files(wheel) or ()
        except PackageNotFoundError:
            continue
        for file in found:
            if file.name.startswith(prefix) and ".alt" not in file.name:
                return Path(file.locate())
    return None


@cache
def open_library(name: str) -> ctypes.CDLL:
    """A library of the table, opened once.

    Raises
    ------
    BackendError
        If it is not installed, or cannot be opened.
    """
    library = LIBRARIES[name]
    found = wheel_file(library.wheels, library.prefix)
    why = None
    for path in (str(found),) if found else library.system:
        try:
            return ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
        except OSError as error:
            why = str(error) if found else None
    raise BackendError(f"{name}, which {library.purpose} for a GPU, " +
                       ("cannot be opened" if found else "is not installed"), why=why, fix=INSTALL)
