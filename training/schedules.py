"""Schedules as graph: how the learning rate changes from step to step."""
from __future__ import annotations

import math

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError, unknown_name
from ..layers.arguments import fraction, number
from ..layers.value import Value

where, cos, minimum, power = OPS["where"], OPS["cos"], OPS["minimum"], OPS["power"]


class Schedule(Value):
    """Base: a factor on the learning rate, from the step and the planned number of steps.

    Examples
    --------
    >>> from gradatim.training import Cosine
    >>> [round(f, 2) for f in Cosine().table(5)]
    [1.0, 0.9, 0.65, 0.35, 0.1]
    """

    def factor(self, step: Tensor, total: Tensor) -> Tensor:
        """0-d float64 factor; ``step`` counts from 0, ``total`` steps are planned, both float64."""
        raise NotImplementedError

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

    Raises
    ------
    ParameterError
        If ``final`` is out of range.

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

    Raises
    ------
    ParameterError
        If one of them is out of range.

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

    Raises
    ------
    ParameterError
        If one of them is out of range.

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


SCHEDULES = {"constant": Constant, "exponential": Exponential, "cosine": Cosine,
             "one_cycle": OneCycle, "piecewise_constant": PiecewiseConstant}


def schedule(name) -> Schedule:
    """The schedule of that name with its defaults, or the object itself."""
    if isinstance(name, Schedule):
        return name
    if isinstance(name, str) and name in SCHEDULES:
        return SCHEDULES[name]()
    if isinstance(name, str):
        raise unknown_name("schedule", name, SCHEDULES)
    raise ParameterError(f"a schedule is a name or a Schedule, not {name!r}")
