"""Communicator: how the replicas of a graph exchange arrays."""
from __future__ import annotations


class Communicator:
    """One replica's end of the exchange. Every rank calls the same methods in the same order.

    Attributes
    ----------
    rank, size : int
        This replica's number, from 0, and how many there are.
    shares_memory : bool
        Whether the replicas are threads of one process, which see the same variables.
    step : int
        The step of training, for messages.
    """
    rank: int
    size: int
    shares_memory = True
    step = 0

    def queues(self, node) -> bool:
        """Whether a collective is put in a GPU's stream, by ``queue``, and stops no program."""
        return False

    def all_reduce(self, x, operation: str = "sum"):
        """The sum, max, min or mean of all ranks' arrays; the same bits on every rank."""
        raise NotImplementedError

    def all_gather(self, x, axis: int = 0):
        """All ranks' arrays joined along an axis, in the order of ranks."""
        raise NotImplementedError

    def broadcast_from(self, x, root: int = 0):
        """The array of rank ``root``."""
        raise NotImplementedError

    def swap(self, x, other: int):
        """The array of rank ``other``, which gets this one; all ranks call it, in pairs."""
        raise NotImplementedError

    def share(self, thing=None, root: int = 0):
        """Any picklable thing of rank ``root``; what the others pass is ignored."""
        raise NotImplementedError

    def gather(self, thing) -> list:
        """Any picklable things of all ranks, in the order of ranks."""
        raise NotImplementedError

    def barrier(self) -> None:
        """Return when all ranks have come here."""
        raise NotImplementedError

    def abort(self) -> None:
        """Free the other ranks when this one cannot go on."""
        raise NotImplementedError

    def reset(self) -> None:
        """Make exchanges possible again after an `abort`, once no rank waits any more."""
        raise NotImplementedError
