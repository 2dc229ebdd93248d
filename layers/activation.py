"""Activation layers: an activation by name, and those with settings or weights of their own."""
from __future__ import annotations

import numpy as np

from ..backend import Spec, Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.activations import activation as find_activation
from ..backend.ops.activations import elu, leaky_relu, relu
from ..backend.ops.elementwise import clip, less, where
from ..backend.ops.indexing import sequence_mask
from ..backend.ops.reductions import softmax
from ..backend.ops.shape import transpose
from .arguments import number, positive_int
from .base import Layer
from .flow import Flow


class Activation(Layer):
    """Any activation as a layer.

    Parameters
    ----------
    activation : str or callable
        A name, or a function from tensor to tensor.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Activation("relu")(gt.constant([[-1.0, 2.0]])))
    array([[0., 2.]], dtype=float32)
    """
    keeps_time = True

    def __init__(self, activation, name: str | None = None):
        super().__init__(name)
        self.activation = activation
        find_activation(activation)

    def call(self, x: Tensor) -> Tensor:
        return find_activation(self.activation)(x)


class ReLU(Layer):
    """``x`` from the threshold on, ``negative_slope * (x - threshold)`` below, at most max_value.

    Parameters
    ----------
    max_value : float, optional
        The largest output; None is unbounded.
    negative_slope : float
        The slope below the threshold, from 0 on.
    threshold : float
        Where the input begins to pass, from 0 on.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.ReLU(max_value=3.0, negative_slope=0.5)(gt.constant([[-2.0, 2.0, 4.0]])))
    array([[-1.,  2.,  3.]], dtype=float32)
    """
    keeps_time = True

    def __init__(self, max_value: float | None = None, negative_slope: float = 0.0,
                 threshold: float = 0.0, name: str | None = None):
        super().__init__(name)
        self.max_value = None if max_value is None else number("max_value", max_value, 0.0)
        self.negative_slope = number("negative_slope", negative_slope, 0.0)
        self.threshold = number("threshold", threshold, 0.0)

    def call(self, x: Tensor) -> Tensor:
        if self.threshold:
            below = (x - self.threshold) * self.negative_slope
            x = where(less(x, self.threshold), below, x)
        else:
            slope = self.negative_slope
            x = leaky_relu(x, negative_slope=slope) if slope else relu(x)
        return x if self.max_value is None else clip(x, high=self.max_value)


class LeakyReLU(Layer):
    """``x`` from 0 on and ``negative_slope * x`` below: Maas, Hannun and Ng, 2013.

    Parameters
    ----------
    negative_slope : float
        The slope below 0, from 0 on.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.LeakyReLU(0.5)(gt.constant([[-2.0, 2.0]])))
    array([[-1.,  2.]], dtype=float32)
    """
    keeps_time = True

    def __init__(self, negative_slope: float = 0.3, name: str | None = None):
        super().__init__(name)
        self.negative_slope = number("negative_slope", negative_slope, 0.0)

    def call(self, x: Tensor) -> Tensor:
        return leaky_relu(x, negative_slope=self.negative_slope)


class ELU(Layer):
    """``x`` above 0 and ``alpha * (exp(x) - 1)`` below: Clevert, Unterthiner, Hochreiter, 2016.

    Parameters
    ----------
    alpha : float
        Minus the limit to the left.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.ELU(2.0)(gt.constant([[0.0, 1.0]])))
    array([[0., 1.]], dtype=float32)
    """
    keeps_time = True

    def __init__(self, alpha: float = 1.0, name: str | None = None):
        super().__init__(name)
        self.alpha = number("alpha", alpha)

    def call(self, x: Tensor) -> Tensor:
        return elu(x, alpha=self.alpha)


class Softmax(Layer):
    """``exp(x) / sum(exp(x))`` along an axis.

    Along the time axis, steps beyond a row's length get zero and the others sum to one.

    Parameters
    ----------
    axis : int
        The axis whose entries sum to one; not the batch axis, 0.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Softmax()(gt.constant([[3.0, 3.0]])))
    array([[0.5, 0.5]], dtype=float32)
    """
    keeps_time = True

    def __init__(self, axis: int = -1, name: str | None = None):
        super().__init__(name)
        if not isinstance(axis, int) or isinstance(axis, bool) or axis == 0:
            raise ParameterError(f"axis must be a whole number and not 0, the batch axis, "
                                 f"not {axis!r}")
        self.axis = axis

    def forward(self, flow: Flow, training: bool) -> Flow:
        x = flow.x
        if flow.lengths is None or x.ndim < 2 or self.axis % x.ndim != 1:
            return flow.to(self.shares(x))
        kept = sequence_mask(x, flow.lengths).reshape(-1, x.shape[1], *(1,) * (x.ndim - 2))
        y = self.shares(where(kept, x, float(np.finfo(x.dtype).min)))
        return flow.to(where(kept, y, 0.0))

    def shares(self, x: Tensor) -> Tensor:
        """The softmax, of rows that lie one after another: what backends are fast at."""
        axes = list(range(x.ndim))
        axes[self.axis], axes[-1] = axes[-1], axes[self.axis]
        return softmax(x, axis=-1) if axes[-1] == x.ndim - 1 else \
            transpose(softmax(transpose(x, axes=tuple(axes)), axis=-1), axes=tuple(axes))


class PReLU(Layer):
    """``x`` from 0 on and ``alpha * x`` below, alpha learned: He et al., 2015, equation 1.

    Parameters
    ----------
    alpha_initializer : str or Initializer
        How the first slopes are drawn.
    alpha_regularizer : Regularizer, optional
        A penalty added to the loss.
    alpha_constraint : str or Constraint, optional
        What the slopes are put back to after every step.
    shared_axes : int or list of int, optional
        Axes, counted from 1, along which one slope serves: ``[1, 2]`` gives images one per channel.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> layer = layers.PReLU("ones", shared_axes=1)
    >>> gt.run(layer(gt.constant([[-2.0, 2.0]]))), layer.alpha.shape
    (array([[-2.,  2.]], dtype=float32), (1,))
    """
    keeps_time = True

    def __init__(self, alpha_initializer="zeros", alpha_regularizer=None, shared_axes=None,
                 alpha_constraint=None, name: str | None = None):
        super().__init__(name)
        self.settle_weight("alpha", alpha_initializer, alpha_regularizer, alpha_constraint)
        self.shared_axes = shared_axes
        self.shared = {positive_int("shared_axes", axis) for axis in
                       (shared_axes if isinstance(shared_axes, (list, tuple))
                        else [] if shared_axes is None else [shared_axes])}

    def build(self, spec: Spec) -> None:
        if self.shared and max(self.shared) > len(spec.shape):
            raise ParameterError(f"PReLU cannot share axis {max(self.shared)}",
                                 got=f"an input with axes 1 to {len(spec.shape)}")
        shape = [1 if i in self.shared else n for i, n in enumerate(spec.shape, 1)]
        self.alpha = self.add_weight("alpha", shape, **self.weight_settings("alpha"))

    def check(self, spec: Spec) -> None:
        fits = len(spec.shape) == len(self.alpha.shape) and all(
            i in self.shared or n == m
            for i, (n, m) in enumerate(zip(spec.shape, self.alpha.shape), 1))
        if not fits:
            raise ShapeError(f"{self.label}: the input has another shape than it was built for",
                             got=f"{list(spec.shape)}, not {list(self.built.shape)} "
                                 "(without batch)",
                             fix="name the axes that may change in shared_axes")

    def call(self, x: Tensor) -> Tensor:
        return where(less(x, 0.0), x * self.alpha, x)
