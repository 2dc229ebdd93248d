"""Losses of distributions: counts and sizes, means with their variances, quantiles."""
from __future__ import annotations

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError
from .arguments import number
from .losses import LOSSES, SMALLEST_PROBABILITY, Loss

exp, log, maximum, softplus, square = (
    OPS[n] for n in ("exp", "log", "maximum", "softplus", "square"))


class Poisson(Loss):
    """``p - y * log(p)``: the Poisson deviance up to a constant, for rates ``p``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import Poisson
    >>> y, p = gt.constant([[0.0], [2.0]]), gt.constant([[2.0], [1.0]])
    >>> gt.run(Poisson()(y, p)).round(3)
    array([2., 1.], dtype=float32)
    """

    def values(self, y_true, y_pred):
        return y_pred - y_true * log(y_pred + SMALLEST_PROBABILITY)


class Tweedie(Loss):
    """Half the Tweedie deviance up to a constant, for means ``p`` above 0 (Jorgensen 1987).

    The variance of targets grows as ``p ** power``: 1 is `Poisson`, 2 the gamma distribution, 3
    the inverse Gaussian; between 1 and 2 there are exact zeros beside positive numbers.

    Parameters
    ----------
    power : float
        From 1 to 3.

    Raises
    ------
    ParameterError
        If ``power`` is not in [1, 3].

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import Tweedie
    >>> y, p = gt.constant([[0.0], [2.0]]), gt.constant([[1.0], [4.0]])
    >>> gt.run(Tweedie(power=1.5)(y, p))
    array([2., 6.], dtype=float32)
    """

    def __init__(self, power: float = 1.5):
        self.power = number("power", power)
        if not 1 <= self.power <= 3:
            raise ParameterError(f"power must be in [1, 3], not {power!r}")

    def values(self, y_true, y_pred):
        z = log(y_pred + SMALLEST_PROBABILITY)
        # The two terms p**(2 - power) / (2 - power) and y * p**(1 - power) / (power - 1), each
        # in its limit where the divisor vanishes.
        first, second = (z if not e else exp(e * z) / e for e in (2 - self.power, 1 - self.power))
        return first - y_true * second


class GaussianLikelihood(Loss):
    """``log(v) / 2 + (y - m)**2 / (2 v)``: a normal density's negative logarithm, less a constant.

    The output holds the means ``m`` of all targets, and after them as many numbers whose
    `softplus`, plus the least variance, is the variance ``v`` (Nix and Weigend 1994;
    Lakshminarayanan et al. 2017, equation 1).

    Parameters
    ----------
    min_variance : float
        What variances stay above, from 0 on.

    Raises
    ------
    ParameterError
        If it is below 0.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import GaussianLikelihood
    >>> y, p = gt.constant([[1.0], [3.0]]), gt.constant([[1.0, 0.541325], [1.0, 0.541325]])
    >>> gt.run(GaussianLikelihood()(y, p)).round(3)
    array([0., 2.], dtype=float32)
    """
    outputs = 2

    def __init__(self, min_variance: float = 1e-6):
        self.min_variance = number("min_variance", min_variance, at_least=0.0)

    def variance(self, y_pred: Tensor) -> Tensor:
        """The variances of all targets."""
        return softplus(self.parts(y_pred)[1]) + self.min_variance

    def values(self, y_true, y_pred):
        variance = self.variance(y_pred)
        return 0.5 * (log(variance) + square(y_true - self.prediction(y_pred)) / variance)


class Quantile(Loss):
    """The pinball loss, whose minimum is a conditional quantile (Koenker and Bassett 1978).

    Parameters
    ----------
    quantile : float or sequence of float
        Between 0 and 1; 0.5 is the median. Of several, in rising order, the output holds the first
        of all targets, then the second; the loss is their mean, and the one next to the median is
        the prediction.

    Raises
    ------
    ParameterError
        If they are not between 0 and 1, or do not rise.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import Quantile
    >>> y, p = gt.constant([[1.0], [3.0]]), gt.constant([[2.0], [2.0]])
    >>> gt.run(Quantile(quantile=0.9)(y, p)).round(3)
    array([0.1, 0.9], dtype=float32)
    >>> gt.run(Quantile(quantile=(0.1, 0.9))(y, gt.constant([[0.0, 2.0], [0.0, 2.0]]))).round(3)
    array([0.1, 0.6], dtype=float32)
    """

    def __init__(self, quantile=0.5):
        given = quantile if isinstance(quantile, (tuple, list)) else [quantile]
        found = [number("quantile", q) for q in given]
        if not found or not all(a < b for a, b in zip([0.0, *found], [*found, 1.0])):
            raise ParameterError("quantile must be in (0, 1), and several must rise, not "
                                 f"{quantile!r}")
        self.quantile = tuple(found) if given is quantile else found[0]

    @property
    def quantiles(self) -> tuple[float, ...]:
        """All of them."""
        return self.quantile if isinstance(self.quantile, tuple) else (self.quantile,)

    @property
    def outputs(self) -> int:
        """One number per quantile."""
        return len(self.quantiles)

    @property
    def middle(self) -> int:
        """Which is next to the median."""
        return int(np.argmin([abs(q - 0.5) for q in self.quantiles]))

    def prediction(self, y_pred):
        return self.parts(y_pred)[self.middle]

    def values(self, y_true, y_pred):
        errors = [y_true - part for part in self.parts(y_pred)]
        total = sum(maximum(q * error, (q - 1.0) * error)
                    for q, error in zip(self.quantiles, errors))
        return total if self.outputs == 1 else total / self.outputs


LOSSES |= {"poisson": Poisson, "tweedie": Tweedie, "gaussian": GaussianLikelihood,
           "quantile": Quantile}
