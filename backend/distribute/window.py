"""Window: memory in which the ranks of a machine put arrays for each other to read."""
from __future__ import annotations

import mmap
import os
from typing import Iterator

import numpy as np

from ..errors import BackendError
from .nameless import nameless
from .staging import roomy

PLACE = 2 ** 21     # bytes that a rank has for one piece; it has two such places, in turn


class Window:
    """Every rank's places in shared memory.

    A rank that has come to a meeting has read what was put before the one before: it writes to its
    other place meanwhile, and one meeting to a piece is enough.

    Parameters
    ----------
    team : MPICommunicator
        Whose ranks are all on this machine; every one makes its window at the same time.

    Raises
    ------
    OSError
        If there is not enough shared memory.
    """

    def __init__(self, team):
        size = 2 * PLACE * team.size
        where = team.share(roomy(size))
        if where is None:
            raise OSError("shared memory is full")
        descriptor = nameless(size, team.rank == 0, team.share, team.barrier, where)
        memory = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
        os.close(descriptor)
        self._team, self._turn = team, 0
        self._places = memory.reshape(2, team.size, PLACE)
        self._put = putting()

    def pieces(self, name: str, x: np.ndarray) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """Where each piece of a flat array lies in it, and what all ranks have put there.

        It is theirs until the next piece is asked for.
        """
        step = PLACE // x.itemsize
        for first in range(0, x.size, step):
            where = slice(first, min(first + step, x.size))
            places = [place[:x[where].nbytes].view(x.dtype) for place in self._places[self._turn]]
            self._put(x[where], places[self._team.rank])
            self._team.meet(name, x)
            yield where, places
            self._turn = 1 - self._turn


def putting():
    """What copies an array to where others read it: past the caches, where the core can."""
    try:
        from ..native.library import open_core
        return open_core()[0].put
    except BackendError:
        return lambda x, place: np.copyto(place, x)
