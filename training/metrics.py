"""Metrics counted exactly: sums over samples in the graph, the quotient on the host at the end."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError, unknown_name
from ..layers.value import Value

batch_sum, cast = OPS["batch_sum"], OPS["cast"]


class Metric(Value):
    """Base: ``sums`` builds graph, ``result`` turns the added-up sums into a number.

    Nothing is a mean of batch means: an uneven last batch counts as many samples as it has.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training import Accuracy
    >>> Accuracy().result({"correct": np.float64(3.0), "weight": np.float64(4.0)})
    0.75
    """
    name = ""
    greater_is_better = False

    def sums(self, y_true: Tensor, y_pred: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Sums over the batch; ``y_pred`` is what the net returns (logits), ``weights`` (batch,)."""
        raise NotImplementedError

    def result(self, sums: dict[str, np.ndarray]) -> float:
        """The metric from the sums over all samples."""
        raise NotImplementedError


class Mean(Metric):
    """Weighted mean of one number per sample; subclasses define `values`."""

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """``(batch,)``"""
        raise NotImplementedError

    def sums(self, y_true, y_pred, weights):
        values = cast(self.values(y_true, y_pred), dtype=weights.dtype.name)
        return {"correct": batch_sum(values, weights), "weight": batch_sum(weights)}

    def result(self, sums):
        return float(sums["correct"] / sums["weight"]) if sums["weight"] else math.nan


class Accuracy(Mean):
    """Share of samples whose highest logit is the label's; a single logit means label 1 above 0.

    With a label per step, the share of right steps.
    """
    name = "accuracy"
    greater_is_better = True

    def values(self, y_true, y_pred):
        return _per_sample(cast(_hits(y_true, y_pred), dtype=y_pred.dtype.name))


class TopKAccuracy(Mean):
    """Share of samples whose label is among the ``k`` highest logits.

    Parameters
    ----------
    k : int
        How many guesses are allowed.
    """
    greater_is_better = True

    def __init__(self, k: int = 5):
        self.k = k
        self.name = f"top_{k}_accuracy"

    def values(self, y_true, y_pred):
        _, best = OPS["top_k"](y_pred, k=min(self.k, y_pred.shape[-1]))
        hits = OPS["equal"](best, OPS["expand_dims"](cast(y_true, dtype="int64"), axis=-1))
        return _per_sample(OPS["max"](cast(hits, dtype=y_pred.dtype.name), axis=-1))


class MeanSquaredError(Mean):
    """Mean of squared differences."""
    name = "mean_squared_error"

    def values(self, y_true, y_pred):
        return _per_sample(OPS["square"](_difference(y_true, y_pred)))


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean of squared differences."""
    name = "root_mean_squared_error"

    def result(self, sums):
        return math.sqrt(super().result(sums))


class MeanAbsoluteError(Mean):
    """Mean of absolute differences."""
    name = "mean_absolute_error"

    def values(self, y_true, y_pred):
        return _per_sample(OPS["abs"](_difference(y_true, y_pred)))


class R2(Metric):
    """Coefficient of determination, averaged over outputs: 1 - residual / total sum of squares."""
    name = "r2"
    greater_is_better = True

    def sums(self, y_true, y_pred, weights):
        y_true = _aligned(y_true, y_pred)
        return {"weight": batch_sum(weights), "y": batch_sum(y_true, weights),
                "yy": batch_sum(OPS["square"](y_true), weights),
                "residual": batch_sum(OPS["square"](y_true - y_pred), weights)}

    def result(self, sums):
        total = sums["yy"] - sums["y"] ** 2 / sums["weight"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.mean(1.0 - sums["residual"] / total))


class Confusion(Metric):
    """Base of metrics read off the confusion matrix (rows: labels, columns: predictions)."""
    greater_is_better = True

    def sums(self, y_true, y_pred, weights):
        classes = max(y_pred.shape[-1], 2)
        dtype = weights.dtype.name
        true = OPS["one_hot"](cast(OPS["reshape"](y_true, shape=(-1,)), dtype="int64"),
                              depth=classes, dtype=dtype)
        guess = OPS["one_hot"](_labels(y_pred), depth=classes, dtype=dtype)
        pairs = OPS["expand_dims"](true, axis=2) * OPS["expand_dims"](guess, axis=1)
        return {"matrix": batch_sum(pairs, weights)}

    def result(self, sums):
        matrix = sums["matrix"]
        hits, actual, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        if len(matrix) == 2:                      # of the positive class, as scikit-learn does
            hits, actual, predicted = hits[1:], actual[1:], predicted[1:]
        precision = hits / np.maximum(predicted, 1e-300)
        recall = hits / np.maximum(actual, 1e-300)
        return float(np.mean(self.combine(precision, recall)))

    def combine(self, precision, recall):
        """One number per class."""
        raise NotImplementedError


class Precision(Confusion):
    """Right among those predicted, of class 1, or the mean over classes if there are more than 2."""
    name = "precision"

    def combine(self, precision, recall):
        return precision


class Recall(Confusion):
    """Found among those there are, of class 1, or the mean over classes if there are more than 2."""
    name = "recall"

    def combine(self, precision, recall):
        return recall


class F1(Confusion):
    """Harmonic mean of precision and recall."""
    name = "f1"

    def combine(self, precision, recall):
        return 2 * precision * recall / np.maximum(precision + recall, 1e-300)


METRICS = {m.name: m for m in (Accuracy, MeanSquaredError, RootMeanSquaredError,
                               MeanAbsoluteError, R2, Precision, Recall, F1)}
METRICS["top_5_accuracy"] = TopKAccuracy


def metric(name) -> Metric:
    """The metric of that name, or the object itself."""
    if isinstance(name, Metric):
        return name
    if isinstance(name, str) and name in METRICS:
        return METRICS[name]()
    if isinstance(name, str):
        raise unknown_name("metric", name, METRICS)
    raise ParameterError(f"a metric is a name or a Metric, not {name!r}")


def _labels(y_pred: Tensor) -> Tensor:
    """Predicted class numbers."""
    if y_pred.shape[-1] == 1:
        return cast(OPS["squeeze"](y_pred, axis=-1) > 0.0, dtype="int64")
    return OPS["argmax"](y_pred, axis=-1)


def _hits(y_true: Tensor, y_pred: Tensor) -> Tensor:
    guess = _labels(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == y_pred.shape[-1] > 1:
        y_true = OPS["argmax"](y_true, axis=-1)              # dense labels
    elif y_true.ndim == y_pred.ndim:
        y_true = OPS["squeeze"](y_true, axis=-1)
    return OPS["equal"](guess, cast(y_true, dtype="int64"))


def _aligned(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """``(n,)`` targets beside ``(n, 1)`` predictions become ``(n, 1)``: never a broadcast."""
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = OPS["expand_dims"](y_true, axis=-1)
    return cast(y_true, dtype=y_pred.dtype.name)


def _difference(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return _aligned(y_true, y_pred) - y_pred


def _per_sample(x: Tensor) -> Tensor:
    """The mean over everything but the batch axis."""
    return x.mean(axis=tuple(range(1, x.ndim))) if x.ndim > 1 else x
