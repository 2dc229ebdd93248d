"""Strategy: over which devices a step is spread; plain parameters, applied as a pass."""
from __future__ import annotations

from abc import ABC, abstractmethod
from inspect import signature
from typing import Mapping, Sequence

from ..base import Backend
from ..context import surroundings
from ..errors import ShapeError
from ..function import function
from ..tensor import Tensor, Variable


class Strategy(ABC):
    """Base: how a step is compiled, and which rows of a batch this process computes.

    Strategies are plain parameters: they are cloned, compared and pickled, and hold nothing live.

    Attributes
    ----------
    parts : int
        Into how many equal parts every batch is cut.
    own : range
        The parts that this process computes.
    starts : int
        How many processes are to be started for a fit; 0 if it is made in this one.
    """
    parts = 1
    starts = 0

    @property
    def own(self) -> range:
        return range(self.parts)

    @property
    def meaning(self) -> str:
        """What of it decides the numbers that training gives: equal texts, equal results."""
        return "one device"

    def team(self):
        """The communicator of the processes that train together; None if this is the only one."""
        return None

    def alone(self) -> Strategy:
        """The strategy of what one process computes for itself, such as an evaluation."""
        return self

    def joined(self, X, y, weights) -> tuple:
        """Samples, targets and weights of a fit, with those that other processes have brought."""
        return X, y, weights

    def surroundings(self):
        """In which layers build a step."""
        return surroundings()

    def local(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One part's share of an array with the rows of this process."""
        share = len(self.own)
        if shape[0] % share:
            raise ShapeError(f"{shape[0]} rows cannot be shared by {share} replicas",
                             fix=f"use a batch size that is a multiple of {share}")
        return (shape[0] // share, *shape[1:])

    @abstractmethod
    def function(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor],
                 updates: Mapping[Variable, Tensor], backend: Backend,
                 precision: str | None = None):
        """A callable on arrays of the rows of this process; precision as `function` takes it."""

    def __repr__(self) -> str:
        usual = {k: p.default for k, p in signature(type(self)).parameters.items()}
        given = (f"{k}={v!r}" for k, v in vars(self).items() if v != usual[k])
        return f"{type(self).__name__}({', '.join(given)})"

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None


class SingleDevice(Strategy):
    """Everything on one device."""

    def function(self, inputs, outputs, updates, backend, precision=None):
        return function(inputs, list(outputs), updates, backend=backend, precision=precision)
