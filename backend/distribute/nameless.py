"""Nameless: memory that the ranks of a machine share, of which nothing is left however they end."""
from __future__ import annotations

import os
import tempfile
from typing import Callable


def nameless(size: int, first: bool, share: Callable, meet: Callable, where: str | None = None
             ) -> int:
    """A descriptor of new memory that every rank of a machine has open; it has lost its name.

    Parameters
    ----------
    size : int
        Bytes of memory.
    first : bool
        Whether this rank makes it.
    share : callable
        Takes the first rank's text to all.
    meet : callable
        Returns when all ranks have come to it.
    where : str, optional
        A folder for the name, by default that of temporary files.
    """
    descriptor, path = -1, ""
    if first:
        descriptor, path = tempfile.mkstemp(prefix="gradatim-", dir=where)
        os.truncate(descriptor, size)
    path = share(path)
    if not first:
        descriptor = os.open(path, os.O_RDWR)
    meet()
    if first:
        os.unlink(path)
    return descriptor
