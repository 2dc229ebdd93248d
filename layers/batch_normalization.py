"""BatchNormalization: features brought to a common scale by the statistics of the batch."""
from __future__ import annotations

import math

import numpy as np

from ..backend import Spec, Tensor
from ..backend.context import current
from ..backend.ops.collective import batch_sum
from ..backend.ops.elementwise import cast, maximum, ones_like, square
from ..backend.ops.normalization import batch_norm
from ..backend.ops.shape import expand_dims
from .arguments import flag, fraction
from .flow import Flow
from .initializers import initializer
from .normalization import ScaleAndShift, step_mask


class BatchNormalization(ScaleAndShift):
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` for each entry of the last axis.

    While training, mean and variance are the batch's: over all axes but the last, of the global
    batch (all replicas), rows weighted, steps beyond a row's length left out. They also pull the
    moving statistics along, ``moving = moving * momentum + batch * (1 - momentum)``, which are
    used at inference, and always where the layer is frozen (``trainable = False``), as in Keras.
    The variance is the population's. Ioffe and Szegedy, 2015.

    Parameters
    ----------
    momentum : float
        How much of the moving statistics stays in each step, in [0, 1).
    moving_mean_initializer, moving_variance_initializer : str or Initializer
        The statistics before the first step.
    synchronized : bool
        Whether replicas share statistics. False takes those of each replica's own rows, without
        communication on the way; then the model depends on how many replicas train it. The moving
        statistics are the means over replicas, weighted by their rows.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> layer = layers.BatchNormalization(epsilon=0.0)
    >>> y, updates = layer(gt.constant([[1.0], [3.0]]), training=True)
    >>> gt.run(y).ravel(), [round(float(gt.run(u)[0]), 2) for u in updates.values()]
    (array([-1.,  1.], dtype=float32), [0.02, 1.0])
    """

    def __init__(self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3,
                 center: bool = True, scale: bool = True, beta_initializer="zeros",
                 gamma_initializer="ones", moving_mean_initializer="zeros",
                 moving_variance_initializer="ones", beta_regularizer=None,
                 gamma_regularizer=None, beta_constraint=None, gamma_constraint=None,
                 synchronized: bool = True, name: str | None = None):
        super().__init__(axis, epsilon, center, scale, beta_initializer, gamma_initializer,
                         beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint,
                         name)
        self.momentum = fraction("momentum", momentum)
        self.moving_mean_initializer = moving_mean_initializer
        self.moving_variance_initializer = moving_variance_initializer
        self.synchronized = flag("synchronized", synchronized)
        initializer(moving_mean_initializer), initializer(moving_variance_initializer)

    def build(self, spec: Spec) -> None:
        super().build(spec)
        size = spec.shape[-1:]
        self.moving_mean = self.add_weight("moving_mean", size, self.moving_mean_initializer,
                                           trainable=False)
        self.moving_variance = self.add_weight("moving_variance", size,
                                               self.moving_variance_initializer, trainable=False)

    def forward(self, flow: Flow, training: bool) -> Flow:
        mean, variance, updates = self.moving_mean, self.moving_variance, flow.updates
        if training and not self.frozen:
            synchronized = self.synchronized and not current().own_statistics
            mean, variance, rows = batch_statistics(flow, synchronized)
            moves = mean, variance
            if not synchronized:
                moves = over_replicas(mean, rows), over_replicas(variance, rows)
            pulled = zip((self.moving_mean, self.moving_variance), moves)
            updates = {**updates, **{moving: moving * self.momentum + now * (1.0 - self.momentum)
                                     for moving, now in pulled}}
        return flow.to(batch_norm(flow.x, mean, variance, self.gamma, self.beta,
                                  epsilon=self.epsilon), updates=updates)


def batch_statistics(flow: Flow, synchronized: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean and population variance for each entry of the last axis, and rows' weights.

    They are the global batch's, or those of this replica's rows.
    """
    x, weights = flow.x, flow.weights
    total = batch_sum if synchronized else own_sum
    axes = tuple(range(x.ndim - 1))
    if weights is not None and weights.dtype != x.dtype:
        weights = cast(weights, dtype=x.dtype.name)
    if flow.lengths is not None and x.ndim > 2:
        mask = step_mask(x, flow.lengths)
        rows = mask.reshape(-1, x.shape[1]).sum(axis=1) * float(math.prod(x.shape[2:-1]))
        kept = lambda t: t * mask
    else:
        rows = ones_like(x[(slice(None), *(0,) * (x.ndim - 1))]) * float(math.prod(x.shape[1:-1]))
        kept = lambda t: t
    # A batch whose rows all weigh zero has no statistics; without a bound it would have NaN.
    share = 1.0 / maximum(total(rows, weights), float(np.finfo(x.dtype).tiny))
    mean = total(kept(x), weights, axes=axes) * share
    variance = total(kept(square(x - mean)), weights, axes=axes) * share
    return mean, variance, rows if weights is None else rows * weights


def own_sum(x: Tensor, weights: Tensor | None, axes: tuple[int, ...] = (0,)) -> Tensor:
    """`batch_sum` over this replica's rows alone."""
    if weights is not None:
        x = x * expand_dims(weights, axis=tuple(range(1, x.ndim))) if x.ndim > 1 else x * weights
    return x.sum(axis=axes)


def over_replicas(statistic: Tensor, rows: Tensor) -> Tensor:
    """The mean over replicas of a vector, weighted by their rows; their own on one device."""
    rows = expand_dims(rows, axis=1)                                 # (batch, 1)
    total = maximum(batch_sum(rows), float(np.finfo(rows.dtype).tiny))
    return batch_sum(rows * statistic) / total
