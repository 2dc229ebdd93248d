"""Layers that bring features to a common scale: by sample, by group, or by fixed statistics."""
from __future__ import annotations

import math

import numpy as np

from ..backend import Spec, Tensor
from ..backend.errors import DataError, ParameterError, ShapeError
from ..backend.ops.elementwise import cast, maximum, rsqrt, sqrt, square
from ..backend.ops.indexing import sequence_mask
from ..backend.ops.normalization import layer_norm
from ..backend.ops.shape import broadcast_like, transpose
from .arguments import flag, number, positive_int
from .base import Layer
from .flow import Flow
from .initializers import Constant


class ScaleAndShift(Layer):
    """What normalisations share that end with ``gamma * x + beta``, both learned.

    Parameters
    ----------
    axis : int
        The features' axis: the last, -1.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a learned beta, a learned gamma.
    beta_initializer, gamma_initializer : str or Initializer
        How their first values are drawn.
    beta_regularizer, gamma_regularizer : Regularizer, optional
        Penalties added to the loss.
    beta_constraint, gamma_constraint : str or Constraint, optional
        What they are put back to after every step.
    """
    keeps_time = any_rank = True

    def __init__(self, axis: int = -1, epsilon: float = 1e-3, center: bool = True,
                 scale: bool = True, beta_initializer="zeros", gamma_initializer="ones",
                 beta_regularizer=None, gamma_regularizer=None, beta_constraint=None,
                 gamma_constraint=None, name: str | None = None):
        super().__init__(name)
        self.axis, self.epsilon = last_axis(axis), number("epsilon", epsilon, at_least=0.0)
        self.center, self.scale = flag("center", center), flag("scale", scale)
        self.settle_weight("beta", beta_initializer, beta_regularizer, beta_constraint)
        self.settle_weight("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)

    def build(self, spec: Spec) -> None:
        """Gamma and beta: weights, or constants where they are switched off."""
        if not spec.shape:
            raise ShapeError(f"{type(self).__name__} needs a feature axis beside the batch axis",
                             fix="reshape the input to (batch, features)")
        size = spec.shape[-1:]
        self.gamma = self.add_weight("gamma", size, **self.weight_settings("gamma")) \
            if self.scale else np.ones(size, self.dtype)
        self.beta = self.add_weight("beta", size, **self.weight_settings("beta")) \
            if self.center else np.zeros(size, self.dtype)


class LayerNormalization(ScaleAndShift):
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, over the last axis of each sample.

    Ba, Kiros and Hinton, "Layer Normalization", 2016, equation 4.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.LayerNormalization(epsilon=0.0)(gt.constant([[1.0, 3.0], [0.0, 8.0]])))
    array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """

    def call(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.gamma, self.beta, epsilon=self.epsilon)


class RMSNormalization(Layer):
    """``scale * x / sqrt(mean(x ** 2) + epsilon)``, over the last axis of each sample.

    Zhang and Sennrich, "Root mean square layer normalization", 2019, equation 4.

    Parameters
    ----------
    axis : int
        The axis of the mean: the last, -1.
    epsilon : float
        Added to the mean square.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.RMSNormalization(epsilon=0.0)(gt.constant([[1.0, 7.0]])))
    array([[0.2, 1.4]], dtype=float32)
    """
    keeps_time = any_rank = True

    def __init__(self, axis: int = -1, epsilon: float = 1e-6, name: str | None = None):
        super().__init__(name)
        self.axis, self.epsilon = last_axis(axis), number("epsilon", epsilon, at_least=0.0)

    def build(self, spec: Spec) -> None:
        self.scale = self.add_weight("scale", spec.shape[-1:], "ones")

    def call(self, x: Tensor) -> Tensor:
        return x * rsqrt(square(x).mean(axis=-1, keepdims=True) + self.epsilon) * self.scale


class UnitNormalization(Layer):
    """``x / sqrt(sum(x ** 2))``, over the last axis: vectors of length one.

    Parameters
    ----------
    axis : int
        The vectors' axis: the last, -1.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.UnitNormalization()(gt.constant([[3.0, 4.0]])))
    array([[0.6, 0.8]], dtype=float32)
    """
    keeps_time = any_rank = True
    smallest = 1e-12        # Keras's; keeps a vector of zeros finite

    def __init__(self, axis: int = -1, name: str | None = None):
        super().__init__(name)
        self.axis = last_axis(axis)

    def call(self, x: Tensor) -> Tensor:
        return x * rsqrt(maximum(square(x).sum(axis=-1, keepdims=True), self.smallest))


class GroupNormalization(ScaleAndShift):
    """Normalises each sample over its positions and one group of channels at a time.

    Wu and He, "Group Normalization", 2018, equation 7. Independent of the batch; with as many
    groups as channels it is instance normalisation. Steps beyond a row's length are left out.

    Parameters
    ----------
    groups : int
        How many groups the channels fall into, a divisor of their number.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant([[1.0, 3.0, 0.0, 8.0]])
    >>> gt.run(layers.GroupNormalization(groups=2, epsilon=0.0)(x))
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(self, groups: int = 32, axis: int = -1, epsilon: float = 1e-3,
                 center: bool = True, scale: bool = True, beta_initializer="zeros",
                 gamma_initializer="ones", beta_regularizer=None, gamma_regularizer=None,
                 beta_constraint=None, gamma_constraint=None, name: str | None = None):
        super().__init__(axis, epsilon, center, scale, beta_initializer, gamma_initializer,
                         beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint,
                         name)
        self.groups = positive_int("groups", groups)

    def build(self, spec: Spec) -> None:
        super().build(spec)
        if spec.shape[-1] % self.groups:
            raise ShapeError(f"{self.label}: {spec.shape[-1]} channels do not fall into "
                             f"{self.groups} groups", fix="choose a divisor for groups")

    def forward(self, flow: Flow, training: bool) -> Flow:
        x, rows = flow.x, self.by_group(flow.x)                     # (batch, groups, n)
        if flow.lengths is None or x.ndim < 3:
            rows = layer_norm(rows, epsilon=self.epsilon)
        else:
            kept = self.by_group(broadcast_like(step_mask(x, flow.lengths), x))
            share = 1.0 / maximum(kept.sum(axis=-1, keepdims=True), 1.0)
            centred = rows - (rows * kept).sum(axis=-1, keepdims=True) * share
            variance = (square(centred) * kept).sum(axis=-1, keepdims=True) * share
            rows = centred * rsqrt(variance + self.epsilon)
        parted = rows.reshape(-1, self.groups, math.prod(x.shape[1:-1]), x.shape[-1] // self.groups)
        y = transpose(parted, axes=(0, 2, 1, 3)).reshape(-1, *x.shape[1:])
        return flow.to(y * self.gamma + self.beta)

    def by_group(self, x: Tensor) -> Tensor:
        """All positions and channels of a group in one row: (batch, groups, n)."""
        positions, each = math.prod(x.shape[1:-1]), x.shape[-1] // self.groups
        parted = x.reshape(-1, positions, self.groups, each)
        return transpose(parted, axes=(0, 2, 1, 3)).reshape(-1, self.groups, positions * each)


class Normalization(Layer):
    """``(x - mean) / max(sqrt(variance), 1e-7)`` with fixed statistics, kept as weights.

    Parameters
    ----------
    axis : int or None
        -1 has one mean and variance per entry of the last axis; None one for all.
    mean, variance : float or sequence of float, optional
        The statistics, both or neither; they can also come later from `set_statistics` or
        `adapt`. Without any nothing is changed.
    invert : bool
        Whether to undo instead: ``mean + x * max(sqrt(variance), 1e-7)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Normalization(mean=[1.0, 2.0], variance=4.0)(gt.constant([[5.0, 0.0]])))
    array([[ 2., -1.]], dtype=float32)
    """
    keeps_time = any_rank = True
    epsilon = 1e-7      # Keras's; keeps a constant feature finite

    def __init__(self, axis: int | None = -1, mean=None, variance=None, invert: bool = False,
                 name: str | None = None):
        super().__init__(name)
        self.axis = axis if axis is None else last_axis(axis)
        if (mean is None) != (variance is None):
            raise ParameterError("mean and variance go together",
                                 got=f"only {'mean' if variance is None else 'variance'}")
        self.mean, self.variance = as_plain(mean), as_plain(variance)
        self.invert = flag("invert", invert)
        if mean is not None:
            checked_statistics(mean, variance)

    def build(self, spec: Spec) -> None:
        if self.axis is not None and not spec.shape:
            raise ShapeError("Normalization needs a feature axis beside the batch axis")
        shape = () if self.axis is None else spec.shape[-1:]
        first = (0.0, 1.0) if self.mean is None else (self.mean, self.variance)
        for name, value in zip(("mean", "variance"), first):
            if np.shape(value) not in ((), shape):
                raise ShapeError(f"{self.label}: {name} has another shape than the features",
                                 got=f"{list(np.shape(value))}, not {list(shape)}")
        self.mean_weight, self.variance_weight = (
            self.add_weight(name, shape, Constant(value), trainable=False)
            for name, value in zip(("mean", "variance"), first))

    def check(self, spec: Spec) -> None:
        if self.axis is not None:
            super().check(spec)

    def set_statistics(self, mean, variance) -> None:
        """Replace the statistics.

        Parameters
        ----------
        mean, variance : array
            Of the shape of the weights, or one number for all.

        Raises
        ------
        DataError
            If they are not finite, or a variance is negative.
        ShapeError
            If the shape does not fit.
        """
        self._require_built()
        values = checked_statistics(mean, variance)
        weights = (self.mean_weight, self.variance_weight)
        for weight, value in zip(weights, values):
            if value.shape not in ((), weight.shape):
                raise ShapeError(f'{self.label}: "{weight.name}" has another shape',
                                 got=f"{list(value.shape)}, not {list(weight.shape)}")
        for weight, value in zip(weights, values):
            weight.assign(np.broadcast_to(value, weight.shape))

    def adapt(self, data) -> None:
        """Take mean and population variance from data.

        Parameters
        ----------
        data : array
            ``(samples, ...)``.

        Examples
        --------
        >>> from gradatim import layers
        >>> layer = layers.Normalization()
        >>> layer.adapt([[1.0, 4.0], [3.0, 4.0]])
        >>> layer.get_weights()
        [array([2., 4.], dtype=float32), array([1., 0.], dtype=float32)]
        """
        data = np.asarray(data, np.float64)
        if not data.size:
            raise DataError("there is nothing to take statistics from", got=str(data.shape))
        if self.built is None:
            self.build(Spec(data.shape[1:], np.dtype(self.dtype)))
            self.built = Spec(data.shape[1:], np.dtype(self.dtype))
        self.check(Spec(data.shape[1:], data.dtype))
        axes = None if self.axis is None else tuple(range(data.ndim - 1))
        self.set_statistics(data.mean(axis=axes), data.var(axis=axes))

    def call(self, x: Tensor) -> Tensor:
        x = x if x.spec.is_float else cast(x, dtype=self.dtype)
        width = maximum(sqrt(self.variance_weight), self.epsilon)
        return x * width + self.mean_weight if self.invert else (x - self.mean_weight) / width


# ---- what they share ---------------------------------------------------------------------------

def last_axis(axis) -> int:
    """-1: features are the last axis everywhere."""
    if axis != -1 or isinstance(axis, bool):
        raise ParameterError(f"axis must be -1, the last axis, not {axis!r}",
                             fix="move the features to the end with layers.Permute")
    return axis


def step_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """One on the steps a row has, zero on its padding: (batch, time, 1, ...)."""
    mask = cast(sequence_mask(x, lengths), dtype=x.dtype.name)
    return mask.reshape(-1, x.shape[1], *(1,) * (x.ndim - 2))


def as_plain(value):
    """An array as nested lists, which can be compared and written to files."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def checked_statistics(mean, variance) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays; finite, and no variance below zero."""
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
        raise DataError("the mean and the variance must be finite")
    if (variance < 0).any():
        raise DataError("a variance is negative", got=f"{variance.min():g}")
    return mean, variance
