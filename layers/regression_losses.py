"""Losses of numbers: squared, absolute and relative errors, and the angle between vectors."""
from __future__ import annotations

from ..backend import OPS
from ..backend.errors import ParameterError
from .arguments import number
from .losses import LOSSES, SMALLEST_PROBABILITY, Loss

abs_, log1p, maximum, rsqrt, softplus, square, where = (
    OPS[n] for n in ("abs", "log1p", "maximum", "rsqrt", "softplus", "square", "where"))


class MeanSquaredError(Loss):
    """``(y - p)**2``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import MeanSquaredError
    >>> y, p = gt.constant([[0.0, 0.0], [1.0, 1.0]]), gt.constant([[1.0, 3.0], [1.0, 1.0]])
    >>> gt.run(MeanSquaredError()(y, p))
    array([5., 0.], dtype=float32)
    """

    def values(self, y_true, y_pred):
        return square(y_true - y_pred)


class MeanAbsoluteError(Loss):
    """``|y - p|``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import MeanAbsoluteError
    >>> y, p = gt.constant([[0.0, 0.0], [1.0, 1.0]]), gt.constant([[1.0, 3.0], [1.0, 1.0]])
    >>> gt.run(MeanAbsoluteError()(y, p))
    array([2., 0.], dtype=float32)
    """

    def values(self, y_true, y_pred):
        return abs_(y_true - y_pred)


class MeanAbsolutePercentageError(Loss):
    """``100 * |y - p| / |y|``, with ``|y|`` at least 1e-7.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import MeanAbsolutePercentageError
    >>> y, p = gt.constant([[4.0], [2.0]]), gt.constant([[3.0], [2.0]])
    >>> gt.run(MeanAbsolutePercentageError()(y, p))
    array([25.,  0.], dtype=float32)
    """

    def values(self, y_true, y_pred):
        return 100.0 * abs_(y_true - y_pred) / maximum(abs_(y_true), SMALLEST_PROBABILITY)


class MeanSquaredLogarithmicError(Loss):
    """``(log(1 + y) - log(1 + p))**2``; what is below 0 counts as 0.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import MeanSquaredLogarithmicError
    >>> y, p = gt.constant([[0.0], [2.0]]), gt.constant([[1.0], [2.0]])
    >>> gt.run(MeanSquaredLogarithmicError()(y, p)).round(3)
    array([0.48, 0.  ], dtype=float32)
    """

    def values(self, y_true, y_pred):
        y, p = (log1p(maximum(t, SMALLEST_PROBABILITY)) for t in (y_true, y_pred))
        return square(y - p)


class Huber(Loss):
    """Squared near zero, absolute beyond ``delta`` (Huber 1964).

    Parameters
    ----------
    delta : float
        Where ``e**2 / 2`` turns into ``delta * (|e| - delta / 2)``; above 0.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import Huber
    >>> y, p = gt.constant([[0.0], [0.0]]), gt.constant([[0.5], [3.0]])
    >>> gt.run(Huber(delta=1.0)(y, p))
    array([0.125, 2.5  ], dtype=float32)
    """

    def __init__(self, delta: float = 1.0):
        self.delta = number("delta", delta)
        if self.delta <= 0:
            raise ParameterError(f"delta must be above 0, not {delta!r}")

    def values(self, y_true, y_pred):
        error = abs_(y_true - y_pred)
        return where(error <= self.delta, 0.5 * square(error),
                     self.delta * error - 0.5 * self.delta ** 2)


class LogCosh(Loss):
    """``log(cosh(p - y))``, written so that it cannot overflow.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import LogCosh
    >>> y, p = gt.constant([[0.0], [0.0]]), gt.constant([[0.5], [100.0]])
    >>> gt.run(LogCosh()(y, p)).round(3)
    array([ 0.12 , 99.307], dtype=float32)
    """

    def values(self, y_true, y_pred):
        error = y_pred - y_true
        return error + softplus(-2.0 * error) - 0.6931471805599453


class CosineSimilarity(Loss):
    """Minus the cosine of the angle between targets and predictions, -1 where they agree.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import CosineSimilarity
    >>> y, p = gt.constant([[3.0, 4.0]]), gt.constant([[4.0, 3.0]])
    >>> gt.run(CosineSimilarity()(y, p)).round(3)
    array([-0.96], dtype=float32)
    """
    class_axis = True

    def values(self, y_true, y_pred):
        norms = [rsqrt(maximum(square(t).sum(axis=-1), SMALLEST_PROBABILITY ** 2))
                 for t in (y_true, y_pred)]
        return -(y_true * y_pred).sum(axis=-1) * norms[0] * norms[1]


LOSSES |= {"mean_squared_error": MeanSquaredError, "mse": MeanSquaredError,
           "squared_error": MeanSquaredError, "mean_absolute_error": MeanAbsoluteError,
           "mae": MeanAbsoluteError, "absolute_error": MeanAbsoluteError,
           "mean_absolute_percentage_error": MeanAbsolutePercentageError,
           "mape": MeanAbsolutePercentageError,
           "mean_squared_logarithmic_error": MeanSquaredLogarithmicError,
           "msle": MeanSquaredLogarithmicError, "huber": Huber, "log_cosh": LogCosh,
           "cosine_similarity": CosineSimilarity}
