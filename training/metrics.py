"""Metrics counted exactly: sums over samples in the graph, the quotient on the host at the end."""
from __future__ import annotations

import math

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError, ShapeError, unknown_name
from ..layers.value import Value

batch_sum, cast, expand_dims = OPS["batch_sum"], OPS["cast"], OPS["expand_dims"]
one_hot, square, squeeze = OPS["one_hot"], OPS["square"], OPS["squeeze"]


class Metric(Value):
    """Base: ``sums`` builds graph, ``result`` turns the added-up sums into a number.

    Nothing is a mean of batch means: an uneven last batch counts as many samples as it has.

    Attributes
    ----------
    name : str
        Its key in the logs.
    greater_is_better : bool
        What callbacks take for an improvement.
    takes_logits : bool
        Whether it reads labels off the output; it is then given what stands before the last
        sigmoid or softmax, so that a single output means label 1 above 0.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.training import Metric
    >>> class Bias(Metric):
    ...     '''Mean of predictions minus mean of targets.'''
    ...     name = "bias"
    ...     def sums(self, y_true, y_pred, weights):
    ...         return {"difference": gt.batch_sum(y_pred - y_true, weights),
    ...                 "weight": gt.batch_sum(weights)}
    ...     def result(self, sums):
    ...         return float(sums["difference"].mean() / sums["weight"])
    >>> trainer = gt.Trainer(gt.Sequential([gt.layers.Dense(1)]), metrics=[Bias()])
    >>> sorted(trainer.evaluate([[1.0], [2.0]], [[0.0], [1.0]]))
    ['bias', 'loss']
    """
    name = ""
    greater_is_better = False
    takes_logits = False

    def sums(self, y_true: Tensor, y_pred: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Sums over the batch.

        ``y_pred`` is what the net returns and ``weights`` is ``(batch,)``. If steps beyond a
        row's length are padding, the keyword ``lengths``, ``(batch,)``, is given, too.
        """
        raise NotImplementedError

    def result(self, sums: dict[str, np.ndarray]) -> float:
        """The metric from the sums over all samples, which are float64."""
        raise NotImplementedError


class Mean(Metric):
    """Base of weighted means: subclasses define `values`, one number per output.

    A row that has lengths weighs as much as it has steps.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.training.metrics import Mean
    >>> class Within(Mean):
    ...     '''Share of predictions at most 1 off.'''
    ...     name, greater_is_better = "within", True
    ...     def values(self, y_true, y_pred):
    ...         return abs(y_pred - y_true) <= 1.0
    >>> gt.Trainer(gt.Sequential([gt.layers.Dense(1)]), metrics=[Within()]).metrics
    [Within()]
    """

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """``(batch, ...)``, numbers or truth values."""
        raise NotImplementedError

    def sums(self, y_true, y_pred, weights, lengths=None):
        values = cast(self.values(y_true, y_pred), dtype=weights.dtype.name)
        timed = lengths is not None and values.ndim > 1
        axes = tuple(range(1 + timed, values.ndim))
        values = values.mean(axis=axes) if axes else values             # (batch,) or (batch, time)
        if timed:
            values = (values * _mask(values, lengths)).sum(axis=1)
            lengths = cast(lengths, dtype=weights.dtype.name)
        return {"sum": batch_sum(values, weights),
                "weight": batch_sum(lengths, weights) if timed else batch_sum(weights)}

    def result(self, sums):
        return float(sums["sum"] / sums["weight"]) if sums["weight"] else math.nan


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
        return OPS["equal"](_guess(y_pred), _labels(y_true, y_pred))


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
        return OPS["equal"](y_pred > 0.0, _aligned(y_true, y_pred) > 0.5)


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
        hits = OPS["equal"](best, expand_dims(_labels(y_true, y_pred), axis=-1))
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
        return square(_aligned(y_true, y_pred) - y_pred)


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
        return OPS["abs"](_aligned(y_true, y_pred) - y_pred)


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
        y_true = cast(_aligned(y_true, y_pred), dtype="float64")
        rest, weights = y_true - cast(y_pred, dtype="float64"), cast(weights, dtype="float64")
        parts = {"y": y_true, "yy": square(y_true), "residual": square(rest)}
        if lengths is None or y_true.ndim < 2:
            return {name: batch_sum(part, weights) for name, part in parts.items()} | {
                "weight": batch_sum(weights)}
        steps = {name: _over_steps(part, lengths) for name, part in parts.items()}
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
        true = one_hot(_labels(y_true, y_pred), depth=classes, dtype=dtype)
        guess = one_hot(_guess(y_pred), depth=classes, dtype=dtype)     # (batch, ..., classes)
        parts = {"hits": true * guess, "actual": true, "predicted": guess}
        if lengths is not None and true.ndim > 2:
            parts = {name: _over_steps(part, lengths) for name, part in parts.items()}
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
        return _quotient(hits, predicted)


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
        return _quotient(hits, actual)


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
        return _quotient(2.0 * hits, actual + predicted)


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


def _guess(y_pred: Tensor) -> Tensor:
    """Predicted class numbers ``(batch, ...)``."""
    if y_pred.shape[-1] == 1:
        return cast(squeeze(y_pred, axis=-1) > 0.0, dtype="int64")
    return OPS["argmax"](y_pred, axis=-1)


def _labels(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """True class numbers ``(batch, ...)``, from numbers or from a column per class."""
    if y_true.shape == y_pred.shape:
        y_true = squeeze(y_true, axis=-1) if y_true.shape[-1] == 1 else \
            OPS["argmax"](y_true, axis=-1)
    elif y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = squeeze(y_true, axis=-1)
    if y_true.shape != y_pred.shape[:-1]:
        raise ShapeError("the metric's labels and predictions do not fit",
                         got=f"{list(y_true.shape)} and {list(y_pred.shape)}",
                         fix="pass one label per row of logits")
    return cast(y_true, dtype="int64")


def _aligned(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """``(n,)`` targets beside ``(n, 1)`` predictions become ``(n, 1)``: never a broadcast."""
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = expand_dims(y_true, axis=-1)
    if y_true.shape != y_pred.shape:
        raise ShapeError("the metric's targets and predictions differ in shape",
                         got=f"{list(y_true.shape)} and {list(y_pred.shape)}",
                         fix="the last layer needs one unit per target")
    return cast(y_true, dtype=y_pred.dtype.name)


def _mask(x: Tensor, lengths: Tensor) -> Tensor:
    """``(batch, time)`` ones for valid steps, zeros for padding."""
    return cast(OPS["sequence_mask"](x, lengths), dtype=x.dtype.name)


def _over_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """The sum over valid steps, ``(batch, ...)`` from ``(batch, time, ...)``."""
    mask = _mask(x, lengths)
    further = tuple(range(2, x.ndim))
    return (x * (expand_dims(mask, axis=further) if further else mask)).sum(axis=1)


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a / b``, and 0 where b is 0."""
    return a / np.where(b == 0, 1.0, b)
