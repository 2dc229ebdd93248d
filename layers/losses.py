"""Losses: from targets and a net's output to one number per sample, as graph."""
from __future__ import annotations

from math import prod
from typing import Callable

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import ShapeError
from ..backend.named import named
from .value import Value

cast, maximum, where = OPS["cast"], OPS["maximum"], OPS["where"]

SMALLEST_PROBABILITY = 1e-7    # Keras's epsilon
LOSSES: dict[str, type[Loss]] = {}    # by name; every family adds its own


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
        raise NotImplementedError(f"{type(self).__name__} does not define values")

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
    if not isinstance(name, (str, Loss)) and callable(name):
        return FunctionLoss(name)
    return named("loss", name, LOSSES, "a name, a Loss or a callable",
                 lambda given: isinstance(given, Loss))
