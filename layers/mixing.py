"""MixUp and CutMix: two samples in one while training, and the loss of both targets."""
from __future__ import annotations

import numpy as np

from ..backend import OPS, Tensor, constant
from ..backend.errors import ParameterError
from ..backend.ops.indexing import row_offset
from .arguments import number
from .augmentation import Augmentation, box
from .flow import Flow

flip, reshape, where = OPS["flip"], OPS["reshape"], OPS["where"]
LEVELS = 1024      # of the share: quantiles of its distribution in a table


class Mixing(Augmentation):
    """What both share: a partner for each sample, and its own share in what comes out."""

    def forward(self, flow: Flow, training: bool) -> Flow:
        if not training:
            return flow.to(flow.x, lengths=None)
        x = flow.x
        other = flip(x, axis=0)
        if flow.weights is not None:               # nothing is learned from a row of weight zero
            counts = reshape(flip(flow.weights, axis=0), shape=(-1, 1, 1, 1)) > 0.0
            other = where(counts, other, x)
        mixed, own = self.mixed(x, other, self.numbers(x, *flow.keys, row_offset(x)))
        if flow.weights is not None:
            own = where(counts, own, OPS["ones_like"](own))
        own = reshape(own, shape=(-1,))                                # (batch,)
        if flow.own_share is not None:             # mixed before: the partner of a partner is self
            before = flow.own_share
            own = own * before + (1.0 - own) * (1.0 - flip(before, axis=0))
        return flow.to(mixed, own_share=own, lengths=None)

    def mixed(self, x: Tensor, other: Tensor, units: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What comes out, and each sample's own share in it, ``(batch, 1, 1, 1)``."""
        raise NotImplementedError(f"{type(self).__name__} does not define mixed")

    def share_of(self, x: Tensor, unit: Tensor) -> Tensor:
        """Numbers of the distribution Beta(alpha, alpha) from uniform ones."""
        index = OPS["cast"](OPS["floor"](unit * float(LEVELS)), dtype="int64")
        return OPS["gather"](constant(beta_quantiles(self.alpha).astype(x.dtype)), index)


class MixUp(Mixing):
    """Trains on ``s * x_i + (1 - s) * x_j`` with the loss ``s * loss_i + (1 - s) * loss_j``.

    Zhang et al., "mixup: beyond empirical risk minimization", 2018; s is drawn from
    Beta(alpha, alpha) for each sample.

    Parameters
    ----------
    alpha : float
        Above 0; the larger it is, the more two samples are mixed.

    Notes
    -----
    The partner j is the sample at the place counted from the other end of the (shuffled) batch; of
    a batch spread over replicas, of the replica's part. The sample's weight is that of i. Metrics
    of training compare with the target of i alone.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = np.zeros((2, 1, 1, 1), "float32") + np.float32([0, 1]).reshape(2, 1, 1, 1)
    >>> y = gt.run(layers.MixUp(1.0)(gt.constant(x), training=True)[0]).ravel()
    >>> bool((y > 0).all() and (y < 1).all())
    True
    """

    def __init__(self, alpha: float = 0.2, name: str | None = None):
        super().__init__(name)
        self.alpha = above_zero("alpha", alpha)

    def mixed(self, x, other, units):
        own = self.share_of(x, units[0])
        return x * own + other * (1.0 - own), own


class CutMix(Mixing):
    """Puts a box of another image into each, and counts the losses by their areas.

    Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable
    features", 2019: the area is drawn from Beta(alpha, alpha), and counted again where the box
    goes over the edge.

    Parameters
    ----------
    alpha : float
        Above 0; 1 makes all areas equally likely.

    Notes
    -----
    Partners, weights and metrics are as in `MixUp`.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = np.zeros((2, 4, 4, 1), "float32") + np.float32([0, 1]).reshape(2, 1, 1, 1)
    >>> y = gt.run(layers.CutMix()(gt.constant(x), training=True)[0])
    >>> set(y.ravel().tolist()) <= {0.0, 1.0}
    True
    """
    draws = 3

    def __init__(self, alpha: float = 1.0, name: str | None = None):
        super().__init__(name)
        self.alpha = above_zero("alpha", alpha)

    def mixed(self, x, other, units):
        side = OPS["sqrt"](1.0 - self.share_of(x, units[0]))
        inside = box(x, units[1], units[2], side)                      # (batch, h, w, 1)
        ones = OPS["cast"](inside, dtype=x.dtype.name)
        theirs = OPS["mean"](ones, axis=(1, 2, 3), keepdims=True)
        return where(inside, other, x), 1.0 - theirs


def above_zero(name: str, value) -> float:
    """A finite number above 0."""
    found = number(name, value, at_least=0.0)
    if not found:
        raise ParameterError(f"{name} must be above 0, not {value!r}")
    return found


def beta_quantiles(alpha: float) -> np.ndarray:
    """The quantiles ``(i + 1/2) / LEVELS`` of Beta(alpha, alpha).

    The density ``x**(alpha - 1) * (1 - x)**(alpha - 1)`` is integrated over ``t = x**alpha``, in
    which it is smooth near 0; the upper half mirrors the lower one.
    """
    t = np.linspace(0.0, 0.5 ** alpha, 20001)
    x = t ** (1.0 / alpha)
    density = np.exp((alpha - 1.0) * np.log1p(-x))
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2.0)])
    at = (np.arange(LEVELS // 2) + 0.5) / LEVELS
    half = np.interp(at, mass / mass[-1] / 2.0, t) ** (1.0 / alpha)
    return np.concatenate([half, 1.0 - half[::-1]])
