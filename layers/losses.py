"""Losses: from targets and a net's output to one number per sample, as graph."""
from __future__ import annotations

from math import prod
from typing import Callable

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError, ShapeError, unknown_name
from .arguments import number
from .value import Value

cast, square, abs_, log, clip = (OPS[n] for n in ("cast", "square", "abs", "log", "clip"))
where, maximum, softplus = OPS["where"], OPS["maximum"], OPS["softplus"]

SMALLEST_PROBABILITY = 1e-7    # Keras's epsilon


class Loss(Value):
    """Base: ``values`` gives a loss per output; calling averages over everything but samples.

    With ``lengths`` the mean is over a sample's valid steps; whatever stands beyond them, NaN
    too, reaches neither the loss nor its gradient by the prediction.

    Attributes
    ----------
    integer_labels : bool
        Whether targets are class numbers.
    class_axis : bool
        Whether the prediction's last axis holds classes, for which there is one loss together.
    outputs : int
        How many numbers a net returns for each target.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import MeanSquaredError
    >>> y, p = gt.placeholder((4, 2)), gt.placeholder((4, 2))
    >>> print(MeanSquaredError()(y, p).spec)
    float32[4]
    """
    integer_labels = class_axis = False
    outputs = 1

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The loss of every output."""
        raise NotImplementedError

    def __call__(self, y_true: Tensor, y_pred: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``(batch,)``: the mean over a sample's outputs, and over its valid steps."""
        y_true = self.aligned(y_true, y_pred)
        if lengths is not None and y_pred.ndim > 1 + self.class_axis \
                and y_true.shape[:2] == y_pred.shape[:2]:
            y_true = within(y_true, lengths)
        values = self.values(y_true, y_pred)
        steps = lengths is not None and values.ndim > 1
        values = values.mean(axis=tuple(range(1 + steps, values.ndim))) \
            if values.ndim > 1 + steps else values
        if not steps:
            return values
        count = maximum(cast(lengths, dtype=values.dtype.name), 1.0)
        return within(values, lengths).sum(axis=1) / count

    def parts(self, y_pred: Tensor) -> list[Tensor]:
        """A net's output by what it says: the first numbers of all targets, then the second."""
        if self.outputs == 1:
            return [y_pred]
        if y_pred.shape[-1] % self.outputs:
            raise ShapeError(f"{type(self).__name__} needs {self.outputs} numbers for every target",
                             got=f"{y_pred.shape[-1]} outputs",
                             fix=f"give the last layer {self.outputs} units per target")
        return list(OPS["split"](y_pred, sections=self.outputs, axis=-1))

    def prediction(self, y_pred: Tensor) -> Tensor:
        """What of a net's output is the prediction, which metrics compare with the targets."""
        return self.parts(y_pred)[0]

    def aligned(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Targets of the prediction's shape; ``(n,)`` beside ``(n, 1)`` is never broadcast."""
        y_pred = self.prediction(y_pred)
        if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
            y_true = OPS["expand_dims"](y_true, axis=-1)
        if y_true.shape != y_pred.shape:
            raise ShapeError(f"{type(self).__name__}: targets and predictions differ in shape",
                             got=f"{list(y_true.shape)} and {list(y_pred.shape)}",
                             fix="the last layer needs one unit per target")
        return cast(y_true, dtype=y_pred.dtype.name)


def within(x: Tensor, lengths: Tensor) -> Tensor:
    """x on a row's valid steps, and 0 beyond them, whatever was there."""
    mask = OPS["sequence_mask"](x, lengths)                          # (batch, time)
    mask = OPS["expand_dims"](mask, axis=tuple(range(2, x.ndim))) if x.ndim > 2 else mask
    return where(mask, x, np.zeros((), x.dtype))


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


class CrossEntropy(Loss):
    """Base of the cross-entropies.

    Parameters
    ----------
    from_logits : bool
        Whether the net ends without softmax or sigmoid. With one, its input is used where it can
        be found, which is the same and loses no digits.
    label_smoothing : float
        Share of probability spread over all classes (Szegedy et al. 2016).
    """
    activation = "softmax"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0):
        if not 0 <= label_smoothing < 1:
            raise ParameterError(f"label_smoothing must be in [0, 1), not {label_smoothing!r}")
        self.from_logits, self.label_smoothing = bool(from_logits), float(label_smoothing)

    def logits(self, y_pred: Tensor) -> Tensor:
        """What went into the activation, or logits with the same probabilities."""
        if self.from_logits:
            return y_pred
        node = y_pred.node
        if node.op.name == self.activation and node.settings.get("axis", -1) in (
                -1, y_pred.ndim - 1):
            return node.inputs[0]
        p = clip(y_pred, low=SMALLEST_PROBABILITY, high=1.0 - SMALLEST_PROBABILITY)
        return log(p) if self.activation == "softmax" else log(p) - log(1.0 - p)


class BinaryCrossentropy(CrossEntropy):
    """``-y log p - (1 - y) log(1 - p)`` for every output.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import BinaryCrossentropy
    >>> y, p = gt.constant([[0.0], [1.0]]), gt.constant([[0.5], [0.25]])
    >>> gt.run(BinaryCrossentropy()(y, p)).round(3)
    array([0.693, 1.386], dtype=float32)
    """
    activation = "sigmoid"

    def values(self, y_true, y_pred):
        return OPS["sigmoid_cross_entropy"](self.logits(y_pred), y_true,
                                            label_smoothing=self.label_smoothing)


class CategoricalCrossentropy(CrossEntropy):
    """``-sum(y log p)`` for targets that are probabilities of classes, such as one-hot rows.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import CategoricalCrossentropy
    >>> y, p = gt.constant([[1.0, 0.0], [0.0, 1.0]]), gt.constant([[0.5, 0.5], [0.75, 0.25]])
    >>> gt.run(CategoricalCrossentropy()(y, p)).round(3)
    array([0.693, 1.386], dtype=float32)
    """
    class_axis = True

    def values(self, y_true, y_pred):
        return OPS["softmax_cross_entropy"](self.logits(y_pred), y_true,
                                            label_smoothing=self.label_smoothing)


class SparseCategoricalCrossentropy(CrossEntropy):
    """``-log p[y]`` for targets that are class numbers.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.layers import SparseCategoricalCrossentropy
    >>> y, p = gt.constant([0, 1]), gt.constant([[0.5, 0.5], [0.75, 0.25]])
    >>> gt.run(SparseCategoricalCrossentropy()(y, p)).round(3)
    array([0.693, 1.386], dtype=float32)
    """
    integer_labels = class_axis = True

    def aligned(self, y_true, y_pred):
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
            y_true = OPS["squeeze"](y_true, axis=-1)
        if y_true.shape != y_pred.shape[:-1]:
            raise ShapeError(f"{type(self).__name__}: class numbers and logits do not fit",
                             got=f"{list(y_true.shape)} and {list(y_pred.shape)}",
                             fix="pass one class number per row of logits")
        return cast(y_true, dtype="int64")

    def values(self, y_true, y_pred):
        return OPS["softmax_cross_entropy"](self.logits(y_pred), y_true,
                                            label_smoothing=self.label_smoothing)


LOSSES = {"mean_squared_error": MeanSquaredError, "mse": MeanSquaredError,
          "mean_absolute_error": MeanAbsoluteError, "mae": MeanAbsoluteError, "huber": Huber,
          "squared_error": MeanSquaredError, "absolute_error": MeanAbsoluteError,
          "log_cosh": LogCosh,
          "binary_crossentropy": BinaryCrossentropy,
          "categorical_crossentropy": CategoricalCrossentropy,
          "sparse_categorical_crossentropy": SparseCategoricalCrossentropy}


class FunctionLoss(Loss):
    """A loss of the user's own: any callable ``(y_true, y_pred) -> (batch,)``."""

    def __init__(self, function: Callable):
        self.function = function

    def aligned(self, y_true, y_pred):
        return y_true

    def values(self, y_true, y_pred):
        values = self.function(y_true, y_pred)
        if prod(values.shape) > max(prod(y_true.shape), prod(y_pred.shape)):
            raise ShapeError("the loss pairs every target with every prediction",
                             got=f"{list(y_true.shape)} and {list(y_pred.shape)} make "
                                 f"{list(values.shape)}",
                             fix="pass y of the predictions' shape, or take y_pred[:, 0]")
        if values.shape[:1] != y_pred.shape[:1]:
            raise ShapeError("a loss must return one number per sample",
                             got=f"{list(values.shape)} for {y_pred.shape[0]} samples",
                             fix="take means over the other axes only")
        return values


def loss(name) -> Loss:
    """The loss of that name with its defaults, the object itself, or a callable wrapped."""
    if isinstance(name, Loss):
        return name
    if isinstance(name, str) and name in LOSSES:
        return LOSSES[name]()
    if isinstance(name, str):
        raise unknown_name("loss", name, LOSSES)
    if callable(name):
        return FunctionLoss(name)
    raise ParameterError(f"a loss is a name, a Loss or a callable, not {name!r}")
