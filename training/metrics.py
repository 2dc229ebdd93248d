"""Metrics by name: accuracies, errors, R2, and those read off counts per class."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS
from ..backend.errors import ParameterError, ShapeError, unknown_name
from .metric import (Mean, Metric, aligned, guessed_labels, over_steps, true_labels)

batch_sum, cast, expand_dims = OPS["batch_sum"], OPS["cast"], OPS["expand_dims"]
one_hot, square = OPS["one_hot"], OPS["square"]


class Accuracy(Mean):
    """Share of samples whose highest logit is the label's.

    A single logit means label 1 above 0. Labels are class numbers or rows of probabilities;
    with a label per step it is the share of right steps.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Accuracy
    >>> Accuracy().result({"sum": np.float64(3.0), "weight": np.float64(4.0)})
    0.75
    """
    name = "accuracy"
    greater_is_better = takes_logits = True

    def values(self, y_true, y_pred):
        return OPS["equal"](guessed_labels(y_pred), true_labels(y_true, y_pred))


class BinaryAccuracy(Mean):
    """Share of outputs on the right side, each output being a yes-or-no question of its own.

    Examples
    --------
    >>> from gradatim.training import BinaryAccuracy
    >>> BinaryAccuracy().name
    'binary_accuracy'
    """
    name = "binary_accuracy"
    greater_is_better = takes_logits = True

    def values(self, y_true, y_pred):
        return OPS["equal"](y_pred > 0.0, aligned(y_true, y_pred) > 0.5)


class TopKAccuracy(Mean):
    """Share of samples whose label is among the ``k`` highest logits.

    Parameters
    ----------
    k : int
        How many guesses are allowed; its name is then ``top_5_accuracy``.

    Raises
    ------
    ParameterError
        If ``k`` is not a whole number from 1 on.

    Examples
    --------
    >>> from gradatim.training import TopKAccuracy
    >>> TopKAccuracy(k=3), TopKAccuracy(k=3).name
    (TopKAccuracy(k=3), 'top_3_accuracy')
    """
    greater_is_better = takes_logits = True

    def __init__(self, k: int = 5):
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
            raise ParameterError(f"k must be a whole number from 1 on, not {k!r}")
        self.k = int(k)

    @property
    def name(self):
        """The number of guesses is part of the name."""
        return f"top_{self.k}_accuracy"

    def values(self, y_true, y_pred):
        if y_pred.shape[-1] == 1:
            raise ShapeError(f"{type(self).__name__} needs a logit per class, not a single one",
                             fix='use metrics=["accuracy"]')
        _, best = OPS["top_k"](y_pred, k=min(self.k, y_pred.shape[-1]))
        hits = OPS["equal"](best, expand_dims(true_labels(y_true, y_pred), axis=-1))
        return OPS["max"](cast(hits, dtype=y_pred.dtype.name), axis=-1)


class MeanSquaredError(Mean):
    """Mean of squared differences.

    Examples
    --------
    >>> from gradatim.training import MeanSquaredError
    >>> MeanSquaredError().greater_is_better
    False
    """
    name = "mean_squared_error"

    def values(self, y_true, y_pred):
        return square(aligned(y_true, y_pred) - y_pred)


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


class MeanAbsoluteError(Mean):
    """Mean of absolute differences, in the unit of the targets.

    Examples
    --------
    >>> from gradatim.training import MeanAbsoluteError
    >>> MeanAbsoluteError().name
    'mean_absolute_error'
    """
    name = "mean_absolute_error"

    def values(self, y_true, y_pred):
        return OPS["abs"](aligned(y_true, y_pred) - y_pred)


class R2(Metric):
    """Coefficient of determination: 1 - residual / total sum of squares, the mean over outputs.

    Where targets do not vary it is 1 for a perfect prediction and 0 otherwise. Sums are float64
    even in a float32 net, because the total is a difference of large numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import R2
    >>> sums = {"weight": 2.0, "y": [2.0], "yy": [4.0], "residual": [0.5]}
    >>> R2().result({name: np.asarray(s) for name, s in sums.items()})
    0.75
    """
    name = "r2"
    greater_is_better = True

    def sums(self, y_true, y_pred, weights, lengths=None):
        y_true = cast(aligned(y_true, y_pred), dtype="float64")
        rest, weights = y_true - cast(y_pred, dtype="float64"), cast(weights, dtype="float64")
        parts = {"y": y_true, "yy": square(y_true), "residual": square(rest)}
        if lengths is None or y_true.ndim < 2:
            return {name: batch_sum(part, weights) for name, part in parts.items()} | {
                "weight": batch_sum(weights)}
        steps = {name: over_steps(part, lengths) for name, part in parts.items()}
        return {name: batch_sum(part, weights) for name, part in steps.items()} | {
            "weight": batch_sum(cast(lengths, dtype="float64"), weights)}

    def result(self, sums):
        if not sums["weight"]:
            return math.nan
        total = sums["yy"] - sums["y"] ** 2 / sums["weight"]
        residual = sums["residual"]
        # What is left of equal targets is rounding, and no variation to explain.
        varies = total > 1e-14 * sums["yy"]
        ratio = residual / np.where(varies, total, 1.0)
        return float(np.mean(np.where(varies, 1.0 - ratio, residual == 0)))


class PerClass(Metric):
    """Base of metrics read off the counts of right, actual and predicted labels of each class.

    With two classes it is that of class 1; with more, the mean over the classes that occur.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Recall
    >>> sums = {"hits": [4.0, 1.0, 2.0], "actual": [8.0, 2.0, 2.0], "predicted": [5.0, 5.0, 2.0]}
    >>> round(Recall().result({name: np.array(s) for name, s in sums.items()}), 3)
    0.667
    """
    greater_is_better = takes_logits = True

    def sums(self, y_true, y_pred, weights, lengths=None):
        classes, dtype = max(y_pred.shape[-1], 2), weights.dtype.name
        true = one_hot(true_labels(y_true, y_pred), depth=classes, dtype=dtype)
        guess = one_hot(guessed_labels(y_pred), depth=classes, dtype=dtype)
        parts = {"hits": true * guess, "actual": true, "predicted": guess}
        if lengths is not None and true.ndim > 2:
            parts = {name: over_steps(part, lengths) for name, part in parts.items()}
        axes = tuple(range(true.ndim - 1)) if lengths is None else (0,)
        return {name: batch_sum(part, weights, axes=axes) for name, part in parts.items()}

    def result(self, sums):
        hits, actual, predicted = sums["hits"], sums["actual"], sums["predicted"]
        kept = np.arange(2) == 1 if len(hits) == 2 else (actual > 0) | (predicted > 0)
        if not (actual > 0).any():
            return math.nan
        return float(np.mean(self.ratio(hits, actual, predicted)[kept]))

    def ratio(self, hits, actual, predicted) -> np.ndarray:
        """One number per class; 0 where there is nothing to divide by."""
        raise NotImplementedError


class Precision(PerClass):
    """Right among those predicted: of class 1, or the mean over more than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Precision
    >>> counts = {"hits": [3.0, 1.0], "actual": [5.0, 3.0], "predicted": [5.0, 2.0]}
    >>> Precision().result({name: np.array(c) for name, c in counts.items()})
    0.5
    """
    name = "precision"

    def ratio(self, hits, actual, predicted):
        return quotient(hits, predicted)


class Recall(PerClass):
    """Found among those there are: of class 1, or the mean over more than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Recall
    >>> counts = {"hits": [3.0, 1.0], "actual": [5.0, 4.0], "predicted": [5.0, 2.0]}
    >>> Recall().result({name: np.array(c) for name, c in counts.items()})
    0.25
    """
    name = "recall"

    def ratio(self, hits, actual, predicted):
        return quotient(hits, actual)


class F1(PerClass):
    """Harmonic mean of precision and recall: of class 1, or the mean over more than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import F1
    >>> counts = {"hits": [3.0, 1.0], "actual": [5.0, 3.0], "predicted": [5.0, 1.0]}
    >>> F1().result({name: np.array(c) for name, c in counts.items()})
    0.5
    """
    name = "f1"

    def ratio(self, hits, actual, predicted):
        return quotient(2.0 * hits, actual + predicted)


METRICS = {m.name: m for m in (Accuracy, BinaryAccuracy, MeanSquaredError, RootMeanSquaredError,
                               MeanAbsoluteError, R2, Precision, Recall, F1)}
METRICS |= {"top_5_accuracy": TopKAccuracy, "mse": MeanSquaredError, "mae": MeanAbsoluteError,
            "rmse": RootMeanSquaredError}


def metric(name) -> Metric:
    """The metric of that name, or the object itself."""
    if isinstance(name, Metric):
        return name
    if isinstance(name, str) and name in METRICS:
        return METRICS[name]()
    if isinstance(name, str):
        raise unknown_name("metric", name, METRICS)
    raise ParameterError(f"a metric is a name or a Metric, not {name!r}")


def quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a / b``, and 0 where b is 0."""
    return a / np.where(b == 0, 1.0, b)
