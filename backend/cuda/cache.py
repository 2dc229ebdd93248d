"""Compiled kernels on disk, found again by their source, macros, compiler and its flags."""
from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Callable

KERNELS = Path(__file__).parent / "kernels"


def folder() -> Path:
    """Where compiled kernels are kept: ``GRADATIM_CACHE``, or a folder of the user's own cache."""
    given = os.environ.get("GRADATIM_CACHE")
    base = Path(given) if given else Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradatim"
    return base / "kernels"


def cached(ending: str, parts: list[str], build: Callable[[], bytes]) -> Path:
    """The file with what ``build`` makes, which is a function of ``parts`` alone.

    A file appears whole or not at all, so processes may build the same one at once. Without a
    place to keep it, it is built in a temporary folder.
    """
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    for place in (folder(), Path(tempfile.gettempdir()) / f"gradatim-kernels-{os.getuid()}"):
        path = place / (key + ending)
        if path.exists():
            return path
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, unfinished = tempfile.mkstemp(dir=place, suffix=".part")
        except OSError:
            continue
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(build())
            os.replace(unfinished, path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        return path
    raise OSError("there is no folder to keep compiled kernels in; set GRADATIM_CACHE to one")
