"""Photometric augmentation: images made brighter or darker, of other contrast, or erased."""
from __future__ import annotations

from ..backend import OPS
from .arguments import number
from .augmentation import Augmentation, box, share

where = OPS["where"]


class RandomBrightness(Augmentation):
    """Makes each image brighter or darker: adds one number to all its pixels.

    Parameters
    ----------
    factor : float
        The largest that is added or taken away, in [0, 1], of pixels as the net sees them: an
        estimator shows it images in [0, 1].

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.zeros((20, 2, 2, 1), "float32"))
    >>> y = gt.run(layers.RandomBrightness(0.5)(x, training=True)[0])
    >>> bool((abs(y) <= 0.5).all() and (y[:, :1, :1] == y).all())
    True
    """

    def __init__(self, factor: float = 0.2, name: str | None = None):
        super().__init__(name)
        self.factor = share("factor", factor)

    def changed(self, x, units):
        return x + (units[0] * 2.0 - 1.0) * self.factor


class RandomContrast(Augmentation):
    """Brings the pixels of each image nearer to their mean, or away from it, by channel.

    Parameters
    ----------
    factor : float
        Differences are multiplied by a number from ``1 - factor`` to ``1 + factor``; in [0, 1].

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.float32([[[[0], [2]]]]))
    >>> y = gt.run(layers.RandomContrast(0.5)(x, training=True)[0])
    >>> bool(np.allclose(y.mean(), 1.0)), bool(1.0 <= np.ptp(y) <= 3.0)
    (True, True)
    """

    def __init__(self, factor: float = 0.2, name: str | None = None):
        super().__init__(name)
        self.factor = share("factor", factor)

    def changed(self, x, units):
        mean = x.mean(axis=(1, 2), keepdims=True)                      # (batch, 1, 1, channels)
        return (x - mean) * (1.0 + (units[0] * 2.0 - 1.0) * self.factor) + mean


class RandomErasing(Augmentation):
    """Erases a square of each image at random; also called cutout.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    2017: the middle of the square is anywhere in the image, so a part of it may lie outside.

    Parameters
    ----------
    factor : float
        Share of the images that lose a square, in [0, 1].
    size : float
        Side of the square as a share of the image's height and width, in [0, 1].

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((50, 4, 4, 1), "float32"))
    >>> y = gt.run(layers.RandomErasing(size=0.5)(x, training=True)[0])
    >>> sorted(set((16 - y.sum((1, 2, 3))).tolist()))
    [1.0, 2.0, 4.0]
    """
    draws = 3

    def __init__(self, factor: float = 1.0, size: float = 0.25, fill_value: float = 0.0,
                 name: str | None = None):
        super().__init__(name)
        self.factor, self.size = share("factor", factor), share("size", size)
        self.fill_value = number("fill_value", fill_value)

    def changed(self, x, units):
        inside = box(x, units[0], units[1], self.size) & (units[2] < self.factor)
        return where(inside, OPS["zeros_like"](x) + self.fill_value, x)
