"""The line search of L-BFGS: a step length that fulfils the strong Wolfe conditions."""
from __future__ import annotations

import math
from typing import Callable, NamedTuple

DECREASE = 1e-4      # the value falls by at least this share of what the slope promises
CURVATURE = 0.9      # the slope falls to at most this share
ROUNDING = 1e-14     # values that differ by less, relatively, are equal
GROWTH = 4.0         # of the step while the value still falls steeply
MARGIN = 0.1         # a new point stays so far from both ends, as a share of their distance


class Point(NamedTuple):
    """Value and slope at a distance along the line."""
    at: float
    value: float
    slope: float


def strong_wolfe(along: Callable[[float], tuple[float, float]], value: float, slope: float,
                 first: float = 1.0, tries: int = 25) -> float:
    """A step length along a line on which a function falls at first.

    Parameters
    ----------
    along : callable ``float -> (value, slope)``
        The function and its slope at a distance from the start.
    value, slope : float
        Those at the start; the slope is below 0.
    first : float
        The first distance to try.
    tries : int
        How many distances are tried at most.

    Returns
    -------
    float
        The distance; the best one tried if none fulfils both conditions, and 0.0 if the function
        was lower nowhere. Points where it is not finite are too far away.

    Notes
    -----
    Nocedal and Wright, *Numerical Optimization* (2006), algorithms 3.5 and 3.6, in one loop: the
    best point so far and the other end of the interval, once there is one, have between them a
    point that is wanted. Close to the minimum, where values differ by rounding alone, slopes decide
    (as in Hager and Zhang, 2005).

    Examples
    --------
    >>> from gradatim.training.line_search import strong_wolfe
    >>> round(strong_wolfe(lambda a: ((a - 3.0) ** 2, 2 * (a - 3.0)), 9.0, -6.0, first=9.0), 6)
    3.0
    """
    best, end, at = Point(0.0, value, slope), None, first
    for _ in range(tries):
        here = Point(at, *along(at))
        low_enough = here.value <= value + DECREASE * at * slope     # False for NaN, too
        flat = abs(here.slope) <= -CURVATURE * slope
        if flat and abs(here.value - value) <= ROUNDING * abs(value):
            return at                                # values tell nothing here, but slopes do
        if not low_enough or here.value >= best.value:
            end = here
        elif flat:
            return at
        else:
            ahead = 1.0 if end is None else end.at - best.at
            if here.slope * ahead >= 0:                              # the valley is behind
                end = best
            best = here
        at = GROWTH * at if end is None else between(best, end)
        if not math.isfinite(at) or at == best.at:
            break
    return best.at


def between(best: Point, end: Point) -> float:
    """The lowest point of the cubic through both ends (equation 3.59), well inside the interval."""
    width = end.at - best.at
    if not math.isfinite(end.value) or not math.isfinite(end.slope):
        return best.at + MARGIN * width
    d1 = best.slope + end.slope - 3.0 * (end.value - best.value) / width
    root = d1 * d1 - best.slope * end.slope
    share = 0.5
    if root >= 0:
        d2 = math.copysign(math.sqrt(root), width)
        below = end.slope - best.slope + 2.0 * d2
        share = 1.0 - (end.slope + d2 - d1) / below if below else 0.5
    return best.at + min(max(share, MARGIN), 1.0 - MARGIN) * width
