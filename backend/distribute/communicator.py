"""Communicator: how the replicas of a graph exchange arrays."""
from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

COMBINE = {"sum": np.add, "max": np.maximum, "min": np.minimum}


class Communicator(ABC):
    """One replica's end of the exchange. Every rank calls the same methods in the same order.

    Attributes
    ----------
    rank, size : int
        This replica's number, from 0, and how many there are.
    step : int
        The step of training, for messages.
    """
    rank: int
    size: int
    step = 0

    def queues(self, node) -> bool:
        """Whether a collective is put in a GPU's stream, by ``queue``, and stops no program."""
        return False

    @abstractmethod
    def all_reduce(self, x, operation: str = "sum", out=None):
        """The sum, max or min of all ranks' arrays; the same bits on every rank.

        It is written to ``out``, which may be ``x`` itself, or else to a new array.
        """

    @abstractmethod
    def all_gather(self, x, axis: int = 0, out=None):
        """All ranks' arrays joined along an axis, in the order of ranks."""

    @abstractmethod
    def broadcast_from(self, x, root: int = 0, out=None):
        """The array of rank ``root``."""

    @abstractmethod
    def swap(self, x, other: int):
        """The array of rank ``other``, which gets this one; all ranks call it, in pairs."""

    @abstractmethod
    def share(self, thing=None, root: int = 0):
        """Any picklable thing of rank ``root``; what the others pass is ignored."""

    @abstractmethod
    def gather(self, thing) -> list:
        """Any picklable things of all ranks, in the order of ranks."""

    @abstractmethod
    def barrier(self) -> None:
        """Return when all ranks have come here."""

    @abstractmethod
    def abort(self, code: int = 1) -> None:
        """Free the other ranks when this one cannot go on; processes end with the exit code."""
