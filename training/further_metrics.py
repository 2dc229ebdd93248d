"""Metrics beside the usual ones: log loss, relative errors, cosine similarity, correlation."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS
from ..layers.further_losses import CosineSimilarity as CosineLoss
from ..layers.further_losses import MeanAbsolutePercentageError as PercentageLoss
from ..layers.further_losses import MeanSquaredLogarithmicError as LogarithmicLoss
from .metric import Mean, Metric, aligned, over_steps, true_labels
from .metrics import METRICS

batch_sum, cast, square = OPS["batch_sum"], OPS["cast"], OPS["square"]


class LogLoss(Mean):
    """Mean of minus the logarithm of the probability that the net gives the true class.

    For any net of classes, whatever loss it is trained with; a single output is the probability
    of class 1.

    Examples
    --------
    >>> from gradatim.training import LogLoss
    >>> LogLoss().name
    'log_loss'
    """
    name = "log_loss"
    takes_logits = True

    def values(self, y_true, y_pred):
        labels = true_labels(y_true, y_pred)
        if y_pred.shape[-1] > 1:
            return OPS["softmax_cross_entropy"](y_pred, labels)
        single = OPS["squeeze"](y_pred, axis=-1)
        return OPS["sigmoid_cross_entropy"](single, cast(labels, dtype=y_pred.dtype.name))


class MeanAbsolutePercentageError(Mean):
    """Mean of absolute differences in percent of the targets.

    Examples
    --------
    >>> from gradatim.training import MeanAbsolutePercentageError
    >>> MeanAbsolutePercentageError().name
    'mean_absolute_percentage_error'
    """
    name = "mean_absolute_percentage_error"

    def values(self, y_true, y_pred):
        return PercentageLoss().values(aligned(y_true, y_pred), y_pred)


class MeanSquaredLogarithmicError(Mean):
    """Mean of squared differences of ``log(1 + y)``, numbers below zero taken for zero.

    Examples
    --------
    >>> from gradatim.training import MeanSquaredLogarithmicError
    >>> MeanSquaredLogarithmicError().name
    'mean_squared_logarithmic_error'
    """
    name = "mean_squared_logarithmic_error"

    def values(self, y_true, y_pred):
        return LogarithmicLoss().values(aligned(y_true, y_pred), y_pred)


class CosineSimilarity(Mean):
    """Mean cosine of the angle between targets and outputs, along the last axis.

    Examples
    --------
    >>> from gradatim.training import CosineSimilarity
    >>> CosineSimilarity().greater_is_better
    True
    """
    name = "cosine_similarity"
    greater_is_better = True

    def values(self, y_true, y_pred):
        return -CosineLoss().values(aligned(y_true, y_pred), y_pred)


class PearsonCorrelation(Metric):
    """Pearson's correlation of targets and outputs over all samples, the mean over outputs.

    Where either does not vary it is 0. Sums are float64 even in a float32 net.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import PearsonCorrelation
    >>> sums = {"weight": 2.0, "y": [1.0], "p": [2.0], "yy": [1.0], "pp": [4.0], "yp": [2.0]}
    >>> PearsonCorrelation().result({name: np.asarray(s) for name, s in sums.items()})
    1.0
    """
    name = "pearson_correlation"
    greater_is_better = True

    def sums(self, y_true, y_pred, weights, lengths=None):
        y, p = (cast(t, dtype="float64") for t in (aligned(y_true, y_pred), y_pred))
        weights = cast(weights, dtype="float64")
        parts = {"y": y, "p": p, "yy": square(y), "pp": square(p), "yp": y * p}
        count = batch_sum(weights)
        if lengths is not None and y.ndim > 1:
            parts = {name: over_steps(part, lengths) for name, part in parts.items()}
            count = batch_sum(cast(lengths, dtype="float64"), weights)
        return {name: batch_sum(part, weights) for name, part in parts.items()} | {"weight": count}

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


METRICS |= {m.name: m for m in (LogLoss, MeanAbsolutePercentageError, CosineSimilarity,
                                MeanSquaredLogarithmicError, PearsonCorrelation)}
METRICS |= {"mape": MeanAbsolutePercentageError, "msle": MeanSquaredLogarithmicError}
