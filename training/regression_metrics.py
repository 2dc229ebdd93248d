"""Metrics of numbers: mean errors, R2, correlation, and the angle between vectors."""
from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from ..backend import OPS, Tensor
from ..layers import regression_losses as losses
from ..layers.losses import Loss
from .metric import METRICS, Mean, Metric, aligned, over_steps

batch_sum, cast, square = OPS["batch_sum"], OPS["cast"], OPS["square"]


class MeanLoss(Mean):
    """Base of means of a loss."""
    loss: Loss

    def values(self, y_true, y_pred):
        return self.loss.values(aligned(y_true, y_pred), y_pred)


class MeanSquaredError(MeanLoss):
    """Mean of squared differences.

    Examples
    --------
    >>> from gradatim.training import MeanSquaredError
    >>> MeanSquaredError().greater_is_better
    False
    """
    name = "mean_squared_error"
    loss = losses.MeanSquaredError()


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean of squared differences, in the unit of the targets.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import RootMeanSquaredError
    >>> RootMeanSquaredError().result({"sum": np.float64(36.0), "weight": np.float64(4.0)})
    3.0
    """
    name = "root_mean_squared_error"

    def result(self, sums):
        return math.sqrt(super().result(sums))


class MeanAbsoluteError(MeanLoss):
    """Mean of absolute differences, in the unit of the targets.

    Examples
    --------
    >>> from gradatim.training import MeanAbsoluteError
    >>> MeanAbsoluteError().name
    'mean_absolute_error'
    """
    name = "mean_absolute_error"
    loss = losses.MeanAbsoluteError()


class MeanAbsolutePercentageError(MeanLoss):
    """Mean of absolute differences in percent of the targets.

    Examples
    --------
    >>> from gradatim.training import MeanAbsolutePercentageError
    >>> MeanAbsolutePercentageError().name
    'mean_absolute_percentage_error'
    """
    name = "mean_absolute_percentage_error"
    loss = losses.MeanAbsolutePercentageError()


class MeanSquaredLogarithmicError(MeanLoss):
    """Mean of squared differences of ``log(1 + y)``, numbers below zero taken for zero.

    Examples
    --------
    >>> from gradatim.training import MeanSquaredLogarithmicError
    >>> MeanSquaredLogarithmicError().name
    'mean_squared_logarithmic_error'
    """
    name = "mean_squared_logarithmic_error"
    loss = losses.MeanSquaredLogarithmicError()


class CosineSimilarity(MeanLoss):
    """Mean cosine of the angle between targets and outputs, along the last axis.

    Examples
    --------
    >>> from gradatim.training import CosineSimilarity
    >>> CosineSimilarity().greater_is_better
    True
    """
    name = "cosine_similarity"
    greater_is_better = True
    loss = losses.CosineSimilarity()

    def values(self, y_true, y_pred):
        return -super().values(y_true, y_pred)


class Moments(Metric):
    """Base of metrics made of sums over all samples, of which a small difference is left.

    They are float64 even in a float32 net.
    """
    greater_is_better = True

    def sums(self, y_true, y_pred, weights, lengths=None):
        y, p, weights = (cast(t, dtype="float64")
                         for t in (aligned(y_true, y_pred), y_pred, weights))
        parts, count = self.parts(y, p), batch_sum(weights)
        if lengths is not None and y.ndim > 1:
            parts = {name: over_steps(part, lengths) for name, part in parts.items()}
            count = batch_sum(cast(lengths, dtype="float64"), weights)
        return {name: batch_sum(part, weights) for name, part in parts.items()} | {"weight": count}

    @abstractmethod
    def parts(self, y: Tensor, p: Tensor) -> dict[str, Tensor]:
        """What is summed, one number per output."""


class R2(Moments):
    """Coefficient of determination: 1 - residual / total sum of squares, the mean over outputs.

    Where targets do not vary it is 1 for a perfect prediction and 0 otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import R2
    >>> sums = {"weight": 2.0, "y": [2.0], "yy": [4.0], "residual": [0.5]}
    >>> R2().result({name: np.asarray(s) for name, s in sums.items()})
    0.75
    """
    name = "r2"

    def parts(self, y, p):
        return {"y": y, "yy": square(y), "residual": square(y - p)}

    def result(self, sums):
        if not sums["weight"]:
            return math.nan
        total = sums["yy"] - sums["y"] ** 2 / sums["weight"]
        residual = sums["residual"]
        # What is left of equal targets is rounding, and no variation to explain.
        varies = total > 1e-14 * sums["yy"]
        ratio = residual / np.where(varies, total, 1.0)
        return float(np.mean(np.where(varies, 1.0 - ratio, residual == 0)))


class PearsonCorrelation(Moments):
    """Pearson's correlation of targets and outputs over all samples, the mean over outputs.

    Where either does not vary it is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import PearsonCorrelation
    >>> sums = {"weight": 2.0, "y": [1.0], "p": [2.0], "yy": [1.0], "pp": [4.0], "yp": [2.0]}
    >>> PearsonCorrelation().result({name: np.asarray(s) for name, s in sums.items()})
    1.0
    """
    name = "pearson_correlation"

    def parts(self, y, p):
        return {"y": y, "p": p, "yy": square(y), "pp": square(p), "yp": y * p}

    def result(self, sums):
        n = sums["weight"]
        if not n:
            return math.nan
        y, p = sums["y"] / n, sums["p"] / n
        squares = (sums["yy"] / n - y * y) * (sums["pp"] / n - p * p)
        # What is left of equal numbers is rounding, and no variation.
        varies = squares > 1e-28 * (sums["yy"] / n) * (sums["pp"] / n)
        covariance = sums["yp"] / n - y * p
        return float(np.mean(np.where(varies, covariance / np.sqrt(np.where(varies, squares, 1.0)),
                                      0.0)))


METRICS |= {m.name: m for m in (
    MeanSquaredError, RootMeanSquaredError, MeanAbsoluteError, MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError, CosineSimilarity, R2, PearsonCorrelation)}
METRICS |= {"mse": MeanSquaredError, "rmse": RootMeanSquaredError, "mae": MeanAbsoluteError,
            "mape": MeanAbsolutePercentageError, "msle": MeanSquaredLogarithmicError,
            "r2_score": R2}
