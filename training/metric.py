"""Metric: sums over samples in the graph, the quotient on the host at the end; and its names."""
from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import ShapeError
from ..backend.named import named
from ..layers.value import Value

batch_sum, cast, expand_dims, squeeze = (
    OPS[name] for name in ("batch_sum", "cast", "expand_dims", "squeeze"))

METRICS: dict[str, type[Metric]] = {}         # by name; every family adds its own


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

    @abstractmethod
    def sums(self, y_true: Tensor, y_pred: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Sums over the batch.

        ``y_pred`` is what the net returns and ``weights`` is ``(batch,)``. If steps beyond a
        row's length are padding, the keyword ``lengths``, ``(batch,)``, is given, too.
        """

    @abstractmethod
    def result(self, sums: dict[str, np.ndarray]) -> float:
        """The metric from the sums over all samples, which are float64."""


class Mean(Metric):
    """Base of weighted means: subclasses define `values`, one number per output.

    A row that has lengths weighs as much as it has steps.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.training.metric import Mean
    >>> class Within(Mean):
    ...     '''Share of predictions at most 1 off.'''
    ...     name, greater_is_better = "within", True
    ...     def values(self, y_true, y_pred):
    ...         return abs(y_pred - y_true) <= 1.0
    >>> gt.Trainer(gt.Sequential([gt.layers.Dense(1)]), metrics=[Within()]).metrics
    [Within()]
    """

    @abstractmethod
    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """``(batch, ...)``, numbers or truth values."""

    def sums(self, y_true, y_pred, weights, lengths=None):
        values = cast(self.values(y_true, y_pred), dtype=weights.dtype.name)
        timed = lengths is not None and values.ndim > 1
        axes = tuple(range(1 + timed, values.ndim))
        values = values.mean(axis=axes) if axes else values             # (batch,) or (batch, time)
        if timed:
            values = (values * step_mask(values, lengths)).sum(axis=1)
            lengths = cast(lengths, dtype=weights.dtype.name)
        return {"sum": batch_sum(values, weights),
                "weight": batch_sum(lengths, weights) if timed else batch_sum(weights)}

    def result(self, sums):
        return float(sums["sum"] / sums["weight"]) if sums["weight"] else math.nan


def guessed_labels(y_pred: Tensor) -> Tensor:
    """Predicted class numbers ``(batch, ...)``."""
    if y_pred.shape[-1] == 1:
        return cast(squeeze(y_pred, axis=-1) > 0.0, dtype="int64")
    return OPS["argmax"](y_pred, axis=-1)


def true_labels(y_true: Tensor, y_pred: Tensor) -> Tensor:
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


def aligned(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """``(n,)`` targets beside ``(n, 1)`` predictions become ``(n, 1)``: never a broadcast."""
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = expand_dims(y_true, axis=-1)
    if y_true.shape != y_pred.shape:
        raise ShapeError("the metric's targets and predictions differ in shape",
                         got=f"{list(y_true.shape)} and {list(y_pred.shape)}",
                         fix="the last layer needs one unit per target")
    return cast(y_true, dtype=y_pred.dtype.name)


def step_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """``(batch, time)`` ones for valid steps, zeros for padding."""
    return cast(OPS["sequence_mask"](x, lengths), dtype=x.dtype.name)


def over_steps(x: Tensor, lengths: Tensor) -> Tensor:
    """The sum over valid steps, ``(batch, ...)`` from ``(batch, time, ...)``."""
    mask = step_mask(x, lengths)
    further = tuple(range(2, x.ndim))
    return (x * (expand_dims(mask, axis=further) if further else mask)).sum(axis=1)


def summed(parts: dict[str, Tensor], weights: Tensor, lengths: Tensor | None,
           kept: int) -> dict[str, Tensor]:
    """Sums of ``(batch, ..., kept)`` or ``(batch, time, ..., kept)`` over all but the last axes."""
    if lengths is not None:
        parts = {name: over_steps(part, lengths) if part.ndim > 2 else part
                 for name, part in parts.items()}
    return {name: batch_sum(part, weights, axes=tuple(range(part.ndim - kept)))
            for name, part in parts.items()}


def quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a / b``, and 0 where b is 0."""
    return a / np.where(b == 0, 1.0, b)


def metric(name) -> Metric:
    """The metric of that name, or the object itself."""
    return named("metric", name, METRICS, "a name or a Metric", lambda m: isinstance(m, Metric))
