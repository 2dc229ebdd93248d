"""Local communicator: N replicas as threads of one process, which share memory."""
from __future__ import annotations

from threading import Barrier

import numpy as np

from .communicator import COMBINE, Communicator


class LocalCommunicator(Communicator):
    """A rank among threads: arrays meet in shared slots between two barriers."""

    def __init__(self, rank: int, slots: list, barrier: Barrier):
        self.rank, self.size = rank, len(slots)
        self._slots, self._barrier = slots, barrier

    def _exchange(self, x, combine, out=None):
        """Everyone's arrays combined in the order of ranks, so that all ranks get the same bits."""
        self._slots[self.rank] = x
        self._barrier.wait()
        result = combine(self._slots)
        self._barrier.wait()        # nobody overwrites a slot before everyone has read it
        self._slots[self.rank] = None
        if out is None:
            return result
        np.copyto(out, result)
        return out

    def all_reduce(self, x, operation: str = "sum", out=None):
        def combine(slots):
            total = np.array(slots[0])
            with np.errstate(all="ignore"):           # infinities and NaN are values
                for other in slots[1:]:
                    COMBINE[operation](total, other, out=total)
            return total
        return self._exchange(x, combine, out)

    def all_gather(self, x, axis: int = 0, out=None):
        return self._exchange(x, lambda slots: np.concatenate(slots, axis=axis), out)

    def broadcast_from(self, x, root: int = 0, out=None):
        return self._exchange(x, lambda slots: np.array(slots[root]), out)

    def swap(self, x, other: int):
        return self._exchange(x, lambda slots: np.array(slots[other]))

    def share(self, thing=None, root: int = 0):
        return self._exchange(thing, lambda slots: slots[root])

    def gather(self, thing) -> list:
        return self._exchange(thing, list)

    def barrier(self) -> None:
        self._barrier.wait()

    def abort(self, code: int = 1) -> None:
        self._barrier.abort()


def local_communicators(size: int) -> list[LocalCommunicator]:
    """One communicator per replica of this process.

    Examples
    --------
    >>> from gradatim.backend.distribute import local_communicators
    >>> [c.rank for c in local_communicators(2)]
    [0, 1]
    """
    slots, barrier = [None] * size, Barrier(size)
    return [LocalCommunicator(rank, slots, barrier) for rank in range(size)]
