"""Compiled kernels and measured choices on disk, found again by all that they depend on."""
from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Callable

from ..errors import BackendError

KERNELS = Path(__file__).parent / "kernels"


def folder() -> Path:
    """Where compiled kernels are kept: ``GRADATIM_CACHE``, or a folder of the user's own cache."""
    given = os.environ.get("GRADATIM_CACHE")
    base = Path(given) if given else Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradatim"
    return base / "kernels"


def cached(ending: str, parts: list[str], build: Callable[[], bytes]) -> Path:
    """The file with what ``build`` makes, which is a function of ``parts`` alone.

    A file appears whole or not at all, so processes may build the same one at once. What cannot be
    kept in the user's cache is kept in a temporary folder.

    Raises
    ------
    BackendError
        If it can be kept nowhere.
    """
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    places = [p for p in (folder(), _temporary()) if _is_ours(p)]
    for place in places:
        if (place / (key + ending)).exists():
            return place / (key + ending)
    content = build()
    for place in places:
        if (place / (key + ending)).exists():      # another process was first: all take its file
            return place / (key + ending)
        try:
            return write(place / (key + ending), content)
        except OSError:
            continue
    raise BackendError("there is no folder to keep compiled kernels in",
                       got=", ".join(map(str, places)),
                       fix="set GRADATIM_CACHE to one with free space that you may write to")


def write(path: Path, content: bytes) -> Path:
    """A file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(unfinished, path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return path


@cache
def text(file: str) -> str:
    """The text of a file of kernels."""
    return (KERNELS / file).read_text()


def headers() -> list[str]:
    """The text of every header that kernels may include."""
    return [p.read_text() for p in sorted(KERNELS.glob("*.cuh"))]


def _temporary() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"gradatim-kernels-{user}"


def _is_ours(place: Path) -> bool:
    """Whether nobody else can have put files there, to be run by us."""
    try:
        return not hasattr(os, "getuid") or place.stat().st_uid in (os.getuid(), 0)
    except FileNotFoundError:
        return True                         # it will be made
    except OSError:
        return False
