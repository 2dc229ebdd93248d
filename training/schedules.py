"""Schedules as graph: how the learning rate changes from step to step."""
from __future__ import annotations

import math
from abc import abstractmethod

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError
from ..backend.named import named
from ..layers.arguments import fraction, number, positive_int
from ..layers.value import Value

cos, floor, minimum, power, where = (
    OPS[n] for n in ("cos", "floor", "minimum", "power", "where"))


class Schedule(Value):
    """Base: a factor on the learning rate, from the step and the planned number of steps.

    Raises
    ------
    ParameterError
        If a parameter is out of range.

    Examples
    --------
    >>> from gradatim.training import Cosine
    >>> [round(f, 2) for f in Cosine().table(5)]
    [1.0, 0.9, 0.65, 0.35, 0.1]
    """

    @abstractmethod
    def factor(self, step: Tensor, total: Tensor) -> Tensor:
        """0-d float64 factor; ``step`` counts from 0, ``total`` steps are planned, both float64."""

    def table(self, total: int) -> list[float]:
        """The factor at every step of a fit of ``total`` steps.

        Parameters
        ----------
        total : int
            How many steps are planned.

        Returns
        -------
        list of float
        """
        from ..backend import function, placeholder
        step = placeholder((), "float64", "step", batch=False)
        whole = placeholder((), "float64", "total", batch=False)
        compute = function([step, whole], self.factor(step, whole), backend="reference")
        return [float(compute(i, total)) for i in range(total)]


class Constant(Schedule):
    """The rate stays as it is.

    Examples
    --------
    >>> from gradatim.training import Constant
    >>> Constant().table(2)
    [1.0, 1.0]
    """

    def factor(self, step, total):
        return OPS["ones_like"](step)


class Exponential(Schedule):
    """Exponential decay to ``final`` of the rate at the last step.

    Parameters
    ----------
    final : float
        Factor reached at the end, in (0, 1).

    Examples
    --------
    >>> from gradatim.training import Exponential
    >>> [round(f, 2) for f in Exponential(final=0.25).table(3)]
    [1.0, 0.63, 0.4]
    """

    def __init__(self, final: float = 0.01):
        self.final = fraction("final", final)
        if not self.final:
            raise ParameterError("final must be larger than 0: exponential decay never reaches 0",
                                 fix='use schedule="cosine"')

    def factor(self, step, total):
        return power(self.final, step / total)


class Cosine(Schedule):
    """Linear warm-up, then half a cosine down to ``final`` (Loshchilov and Hutter, SGDR, 2017).

    Parameters
    ----------
    warmup : float
        Share of all steps over which the rate rises from near 0, in [0, 1).
    final : float
        Factor at the end, in [0, 1).

    Examples
    --------
    >>> from gradatim.training import Cosine
    >>> [round(f, 2) for f in Cosine(warmup=0.5).table(4)]
    [0.5, 1.0, 1.0, 0.5]
    """

    def __init__(self, warmup: float = 0.0, final: float = 0.0):
        self.warmup, self.final = fraction("warmup", warmup), fraction("final", final)

    def factor(self, step, total):
        falling = minimum(1.0, (step - total * self.warmup) / (total * (1.0 - self.warmup)))
        fall = self.final + (1.0 - self.final) * 0.5 * (1.0 + cos(falling * math.pi))
        if not self.warmup:
            return fall
        rising = total * self.warmup
        return where(step < rising, minimum(1.0, (step + 1.0) / rising), fall)


class OneCycle(Schedule):
    """Up from ``start`` to 1 and down to ``final`` along cosines (Smith, 1cycle policy, 2018).

    Parameters
    ----------
    peak : float
        Share of all steps after which the rate is highest, in (0, 1).
    start, final : float
        Factors at the beginning and at the end, in [0, 1).

    Examples
    --------
    >>> from gradatim.training import OneCycle
    >>> [round(f, 2) for f in OneCycle(peak=0.5).table(4)]
    [0.04, 0.52, 1.0, 0.5]
    """

    def __init__(self, peak: float = 0.3, start: float = 0.04, final: float = 1e-4):
        self.peak, self.start = fraction("peak", peak), fraction("start", start)
        self.final = fraction("final", final)
        if not self.peak:
            raise ParameterError("peak must be larger than 0", fix='use schedule="cosine"')

    def factor(self, step, total):
        rising = step / (total * self.peak)
        falling = minimum(1.0, (step - total * self.peak) / (total * (1.0 - self.peak)))
        up = self.start + (1.0 - self.start) * 0.5 * (1.0 - cos(rising * math.pi))
        down = self.final + (1.0 - self.final) * 0.5 * (1.0 + cos(falling * math.pi))
        return where(rising < 1.0, up, down)


class PiecewiseConstant(Schedule):
    """One factor after another, as in step decay.

    Parameters
    ----------
    boundaries : sequence of float
        Rising shares of all steps, in (0, 1), after which the next factor holds.
    factors : sequence of float
        One more than boundaries, from 0 on.

    Raises
    ------
    ParameterError
        If the boundaries do not rise or the numbers do not fit.

    Examples
    --------
    >>> from gradatim.training import PiecewiseConstant
    >>> PiecewiseConstant(boundaries=(0.5,), factors=(1.0, 0.1)).table(4)
    [1.0, 1.0, 0.1, 0.1]
    """

    def __init__(self, boundaries=(0.5, 0.75), factors=(1.0, 0.1, 0.01)):
        self.boundaries = tuple(fraction("boundaries", b) for b in boundaries)
        self.factors = tuple(number("factors", f, at_least=0.0) for f in factors)
        if list(self.boundaries) != sorted(set(self.boundaries) - {0.0}):
            raise ParameterError(f"boundaries must rise in (0, 1), not {boundaries!r}")
        if len(self.factors) != len(self.boundaries) + 1:
            raise ParameterError(f"{len(self.boundaries)} boundaries need "
                                 f"{len(self.boundaries) + 1} factors, not {len(self.factors)}")

    def factor(self, step, total):
        result = OPS["ones_like"](step) * self.factors[0]
        for boundary, factor in zip(self.boundaries, self.factors[1:]):
            result = where(step < total * boundary, result, factor)
        return result


class Polynomial(Schedule):
    """``(1 - final) * (1 - step / total) ** power + final``; a straight line by default.

    Parameters
    ----------
    power : float
        Above 0.
    final : float
        Factor at the end, in [0, 1).

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


SCHEDULES = {"constant": Constant, "exponential": Exponential, "cosine": Cosine,
             "one_cycle": OneCycle, "piecewise_constant": PiecewiseConstant,
             "polynomial": Polynomial, "inverse_time": InverseTime,
             "cosine_restarts": CosineRestarts, "cyclic": Cyclic}


def schedule(name) -> Schedule:
    """The schedule of that name with its defaults, or the object itself."""
    return named("schedule", name, SCHEDULES, "a name or a Schedule",
                 lambda s: isinstance(s, Schedule))
