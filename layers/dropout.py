"""Layers that add noise while training, and are the identity otherwise."""
from __future__ import annotations

from abc import abstractmethod

from ..backend import Tensor
from ..backend.ops.indexing import row_offset
from ..backend.ops.random import dropout_mask, normal_like
from .arguments import fraction, number
from .base import Layer
from .flow import Flow
from .spatial import Spatial


class Noise(Layer):
    """What noise layers share: keys of the random stream; nothing happens at inference."""
    keeps_time = True

    def forward(self, flow: Flow, training: bool) -> Flow:
        if not training:
            return flow
        return flow.to(self.disturb(flow.x, *flow.keys, row_offset(flow.x)))

    @abstractmethod
    def disturb(self, x: Tensor, seed: Tensor, step: Tensor, offset: Tensor) -> Tensor:
        """The formula while training."""


class Dropout(Noise):
    """Sets a fraction of the entries to zero and scales the others up, so the mean stays.

    Srivastava et al., "Dropout", 2014. What is dropped is a function of seed, step, the layer's
    path and a sample's position in the global batch.

    Parameters
    ----------
    rate : float
        The fraction, in [0, 1).

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> y, updates = layers.Dropout(0.5)(gt.constant(np.ones((2, 4), "float32")), training=True)
    >>> set(gt.run(y).ravel().tolist()) <= {0.0, 2.0}
    True
    """
    shared_axes = ()

    def __init__(self, rate: float, name: str | None = None):
        super().__init__(name)
        self.rate = fraction("rate", rate)

    def disturb(self, x, seed, step, offset):
        if not self.rate:
            return x
        return x * dropout_mask(x, seed, step, offset, rate=self.rate, stream=self.stream,
                                shared_axes=self.shared_axes)


class SpatialDropout(Spatial, Dropout):
    """Dropout of whole channels: all their steps, pixels or voxels or none."""

    @property
    def shared_axes(self) -> tuple[int, ...]:
        """All spatial ones."""
        return tuple(range(1, self.rank + 1))


class SpatialDropout1D(SpatialDropout):
    """Drops whole features of a sequence: all steps of a feature or none.

    Tompson et al., "Efficient object localization using convolutional networks", 2015.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((2, 3, 4), "float32"))
    >>> y = gt.run(layers.SpatialDropout1D(0.5)(x, training=True)[0])
    >>> bool((y[:, :1] == y).all())
    True
    """
    rank = 1


class SpatialDropout2D(SpatialDropout):
    """Drops whole channels of an image: all pixels of a channel or none.

    Tompson et al., "Efficient object localization using convolutional networks", 2015.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((2, 3, 3, 4), "float32"))
    >>> y = gt.run(layers.SpatialDropout2D(0.5)(x, training=True)[0])
    >>> bool((y[:, :1, :1] == y).all())
    True
    """
    rank = 2


class SpatialDropout3D(SpatialDropout):
    """Drops whole channels of a volume: all voxels of a channel or none.

    Tompson et al., "Efficient object localization using convolutional networks", 2015.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((2, 3, 3, 3, 4), "float32"))
    >>> y = gt.run(layers.SpatialDropout3D(0.5)(x, training=True)[0])
    >>> bool((y[:, :1, :1, :1] == y).all())
    True
    """
    rank = 3


class GaussianNoise(Noise):
    """Adds normal noise of mean zero.

    Parameters
    ----------
    stddev : float
        Its standard deviation, from 0 on.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((2, 3), "float32"))
    >>> gt.run(layers.GaussianNoise(0.0)(x, training=True)[0])[0]
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, stddev: float, name: str | None = None):
        super().__init__(name)
        self.stddev = number("stddev", stddev, at_least=0.0)

    def disturb(self, x, seed, step, offset):
        return x + normal_like(x, seed, step, offset, stddev=self.stddev, stream=self.stream)


class GaussianDropout(Noise):
    """Multiplies by normal numbers of mean one, which leaves the mean and disturbs as dropout does.

    Srivastava et al., "Dropout", 2014, section 10.

    Parameters
    ----------
    rate : float
        In [0, 1): the standard deviation is ``sqrt(rate / (1 - rate))``.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((2, 3), "float32"))
    >>> gt.run(layers.GaussianDropout(0.0)(x, training=True)[0])[0]
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, rate: float, name: str | None = None):
        super().__init__(name)
        self.rate = fraction("rate", rate)

    def disturb(self, x, seed, step, offset):
        stddev = (self.rate / (1.0 - self.rate)) ** 0.5
        return x * (normal_like(x, seed, step, offset, stddev=stddev, stream=self.stream) + 1.0)
