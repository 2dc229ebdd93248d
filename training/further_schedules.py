"""Schedules beside the usual ones: polynomial, by inverse time, with restarts, and cyclic."""
from __future__ import annotations

import math

from ..backend import OPS
from ..backend.errors import ParameterError
from ..layers.arguments import fraction, number, positive_int
from .schedules import SCHEDULES, Schedule

cos, floor, power, where = OPS["cos"], OPS["floor"], OPS["power"], OPS["where"]


class Polynomial(Schedule):
    """``(1 - final) * (1 - step / total) ** power + final``; a straight line by default.

    Parameters
    ----------
    power : float
        Above 0.
    final : float
        Factor at the end, in [0, 1).

    Raises
    ------
    ParameterError
        If one of them is out of range.

    Examples
    --------
    >>> from gradatim.training import Polynomial
    >>> Polynomial().table(4)
    [1.0, 0.75, 0.5, 0.25]
    """

    def __init__(self, power: float = 1.0, final: float = 0.0):
        self.power, self.final = number("power", power, at_least=0.0), fraction("final", final)
        if not self.power:
            raise ParameterError("power must be larger than 0", fix='use schedule="constant"')

    def factor(self, step, total):
        left = OPS["maximum"](1.0 - step / total, 0.0)
        return (1.0 - self.final) * power(left, self.power) + self.final


class InverseTime(Schedule):
    """``1 / (1 + decay * step / total)``: Robbins and Monro's, 1951.

    Parameters
    ----------
    decay : float
        The factor at the end is ``1 / (1 + decay)``.

    Raises
    ------
    ParameterError
        If it is out of range.

    Examples
    --------
    >>> from gradatim.training import InverseTime
    >>> [round(f, 3) for f in InverseTime(decay=4.0).table(4)]
    [1.0, 0.5, 0.333, 0.25]
    """

    def __init__(self, decay: float = 9.0):
        self.decay = number("decay", decay, at_least=0.0)

    def factor(self, step, total):
        return 1.0 / (1.0 + self.decay * step / total)


class CosineRestarts(Schedule):
    """Half a cosine down, again and again (Loshchilov and Hutter, SGDR, 2017).

    Parameters
    ----------
    cycles : int
        How many cosines a fit has.
    growth : float
        How many times longer each is than the one before, from 1 on (the paper's ``T_mult``).
    decay : float
        How high each starts beside the one before, in (0, 1].
    final : float
        Factor at the end of each beside its start, in [0, 1).

    Raises
    ------
    ParameterError
        If one of them is out of range.

    Examples
    --------
    >>> from gradatim.training import CosineRestarts
    >>> [round(f, 2) for f in CosineRestarts(cycles=2, growth=1.0, decay=0.5).table(4)]
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, cycles: int = 3, growth: float = 2.0, decay: float = 1.0,
                 final: float = 0.0):
        self.cycles, self.final = positive_int("cycles", cycles), fraction("final", final)
        self.growth = number("growth", growth, at_least=1.0)
        self.decay = number("decay", decay, at_least=0.0)
        if not 0 < self.decay <= 1:
            raise ParameterError(f"decay must be in (0, 1], not {decay!r}")

    def factor(self, step, total):
        lengths = [self.growth ** i for i in range(self.cycles)]
        result, begin = None, 0.0
        for i, length in enumerate(lengths):
            share = length / math.fsum(lengths)
            done = OPS["clip"]((step / total - begin) / share, low=0.0, high=1.0)
            fall = self.final + (1.0 - self.final) * 0.5 * (1.0 + cos(done * math.pi))
            here = fall * self.decay ** i
            result = here if result is None else where(step < total * begin, result, here)
            begin += share
        return result


class Cyclic(Schedule):
    """Up and down along straight lines, again and again (Smith, *Cyclical Learning Rates*, 2017).

    Parameters
    ----------
    cycles : int
        How many triangles a fit has.
    low : float
        Factor at their feet, in [0, 1).
    decay : float
        How high each is beside the one before, in (0, 1]; 0.5 is the paper's "triangular2".

    Raises
    ------
    ParameterError
        If one of them is out of range.

    Examples
    --------
    >>> from gradatim.training import Cyclic
    >>> Cyclic(cycles=2, low=0.0, decay=0.5).table(8)
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]
    """

    def __init__(self, cycles: int = 4, low: float = 0.1, decay: float = 1.0):
        self.cycles, self.low = positive_int("cycles", cycles), fraction("low", low)
        self.decay = number("decay", decay, at_least=0.0)
        if not 0 < self.decay <= 1:
            raise ParameterError(f"decay must be in (0, 1], not {decay!r}")

    def factor(self, step, total):
        place = step / total * float(self.cycles)
        cycle = floor(place)
        height = 1.0 - OPS["abs"](2.0 * (place - cycle) - 1.0)
        return self.low + (1.0 - self.low) * height * power(self.decay, cycle)


SCHEDULES |= {"polynomial": Polynomial, "inverse_time": InverseTime,
              "cosine_restarts": CosineRestarts, "cyclic": Cyclic}
