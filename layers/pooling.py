"""Pooling: the mean or the maximum of windows, or of all steps, pixels or voxels."""
from __future__ import annotations

import math
from abc import abstractmethod

from ..backend import Tensor
from ..backend.ops.elementwise import cast, maximum, where
from ..backend.ops.indexing import sequence_mask
from ..backend.ops.pooling import average_pool, max_pool
from ..backend.ops.reductions import max_, mean, sum_
from .arguments import one_of, sizes
from .flow import Flow
from .shaping import open_reshape
from .spatial import Spatial


class WindowPooling(Spatial):
    """Pooling over windows.

    Parameters
    ----------
    pool_size : int or one int per spatial axis
        Extent of a window.
    strides : int or one int per spatial axis, optional
        Steps, pixels or voxels from one window to the next; ``pool_size`` by default.
    padding : {"valid", "same"}
        Windows inside the input only, or ``ceil(size / strides)`` of them.

    Raises
    ------
    ShapeError
        If the input has other axes, or is smaller than a window.
    """

    def __init__(self, pool_size=2, strides=None, padding: str = "valid",
                 name: str | None = None):
        super().__init__(name)
        self.pool_size, self.strides = pool_size, strides
        self.padding = one_of("padding", padding, ("valid", "same"))
        self.window = sizes("pool_size", pool_size, self.rank)
        self.steps = self.window if strides is None else sizes("strides", strides, self.rank)

    def call(self, x: Tensor) -> Tensor:
        if self.rank < 3:
            return self.along(x, slice(None))
        # Backends pool over planes: over the depth, each plane is a row of channels.
        depth, *plane, channels = x.shape[1:]
        flat = self.along(open_reshape(x, *plane, channels), slice(1, None))  # (batch * depth, ...)
        plane = flat.shape[1:]
        y = self.along(open_reshape(flat, depth, math.prod(plane)), slice(0, 1))
        return open_reshape(y, y.shape[1], *plane)

    def along(self, x: Tensor, axes: slice) -> Tensor:
        """Pooling over some of the axes, which are all that ``x`` has."""
        return self.pooled(x, pool_size=self.window[axes], strides=self.steps[axes],
                           padding=self.padding)

    @abstractmethod
    def pooled(self, x: Tensor, **sliding) -> Tensor:
        """The op, over one axis or two."""


class MaxPooling(WindowPooling):
    """The largest value of windows."""

    def pooled(self, x, **sliding):
        return max_pool(x, **sliding)[0]


class MaxPooling1D(MaxPooling):
    """The largest value of each channel in windows of steps.

    Input ``(batch, length, channels)``, output ``(batch, steps, channels)``. Padding is never the
    largest. Lengths end here.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.MaxPooling1D()(gt.placeholder((2, 9, 4))).spec)
    float32[2, 4, 4]
    """
    rank = 1


class MaxPooling2D(MaxPooling):
    """The largest value of each channel in windows of pixels.

    Ranzato et al., "Unsupervised learning of invariant feature hierarchies", 2007. Input ``(batch,
    height, width, channels)``, output ``(batch, rows, columns, channels)``. Padding is never the
    largest.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.MaxPooling2D()(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 4, 4, 4]
    """
    rank = 2


class MaxPooling3D(MaxPooling):
    """The largest value of each channel in boxes of voxels.

    Input ``(batch, depth, height, width, channels)``, output likewise. Padding is never the
    largest.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.MaxPooling3D()(gt.placeholder((2, 5, 8, 8, 4))).spec)
    float32[2, 2, 4, 4, 4]
    """
    rank = 3


class AveragePooling(WindowPooling):
    """The mean of windows."""

    def pooled(self, x, **sliding):
        return average_pool(x, **sliding)


class AveragePooling1D(AveragePooling):
    """The mean of each channel in windows of steps.

    Input ``(batch, length, channels)``, output ``(batch, steps, channels)``. Padding is not
    counted. Lengths end here.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.AveragePooling1D(3, strides=1)(gt.placeholder((2, 9, 4))).spec)
    float32[2, 7, 4]
    """
    rank = 1


class AveragePooling2D(AveragePooling):
    """The mean of each channel in windows of pixels.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998. Input ``(batch,
    height, width, channels)``, output ``(batch, rows, columns, channels)``. Padding is not
    counted.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.AveragePooling2D((1, 2))(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 8, 4, 4]
    """
    rank = 2


class AveragePooling3D(AveragePooling):
    """The mean of each channel in boxes of voxels.

    Input ``(batch, depth, height, width, channels)``, output likewise. Padding does not count.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.AveragePooling3D((1, 2, 2))(gt.placeholder((2, 5, 8, 8, 4))).spec)
    float32[2, 5, 4, 4, 4]
    """
    rank = 3


# ---- over all steps, pixels or voxels ------------------------------------------------------------

class GlobalPooling(Spatial):
    """Pooling over all steps, pixels or voxels; over a row's valid steps where lengths are known.

    Parameters
    ----------
    keepdims : bool
        Whether the spatial axes stay, with length 1.

    Raises
    ------
    ShapeError
        If the input has other axes.
    """

    def __init__(self, keepdims: bool = False, name: str | None = None):
        super().__init__(name)
        self.keepdims = keepdims

    def forward(self, flow: Flow, training: bool) -> Flow:
        settings = {"axis": tuple(range(1, self.rank + 1)), "keepdims": bool(self.keepdims)}
        if flow.lengths is None or self.rank > 1:
            return flow.to(self.all(flow.x, settings), lengths=None)
        mask = sequence_mask(flow.x, flow.lengths)[:, :, None]            # (batch, length, 1)
        return flow.to(self.valid(flow.x, mask, settings), lengths=None)

    @abstractmethod
    def all(self, x: Tensor, settings: dict) -> Tensor:
        """Of all steps, pixels or voxels."""

    @abstractmethod
    def valid(self, x: Tensor, mask: Tensor, settings: dict) -> Tensor:
        """Of the steps where the mask holds; zero for a row without any."""


class GlobalAveragePooling(GlobalPooling):
    """The mean of all steps, pixels or voxels."""

    def all(self, x, settings):
        return mean(x, **settings)

    def valid(self, x, mask, settings):
        count = maximum(sum_(cast(mask, dtype=x.dtype.name), **settings), 1.0)
        return sum_(where(mask, x, 0.0), **settings) / count


class GlobalAveragePooling1D(GlobalAveragePooling):
    """The mean of each channel over the valid steps; zero for a row without any.

    Input ``(batch, length, channels)``, output ``(batch, channels)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalAveragePooling1D()(gt.placeholder((2, 9, 4))).spec)
    float32[2, 4]
    """
    rank = 1


class GlobalAveragePooling2D(GlobalAveragePooling):
    """The mean of each channel over all pixels.

    Lin, Chen and Yan, "Network in network", 2014, section 3.2. Input ``(batch, height, width,
    channels)``, output ``(batch, channels)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalAveragePooling2D(keepdims=True)(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 1, 1, 4]
    """
    rank = 2


class GlobalAveragePooling3D(GlobalAveragePooling):
    """The mean of each channel over all voxels.

    Input ``(batch, depth, height, width, channels)``, output ``(batch, channels)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalAveragePooling3D()(gt.placeholder((2, 3, 8, 8, 4))).spec)
    float32[2, 4]
    """
    rank = 3


class GlobalMaxPooling(GlobalPooling):
    """The largest value of all steps, pixels or voxels."""

    def all(self, x, settings):
        return max_(x, **settings)

    def valid(self, x, mask, settings):
        any_step = sum_(cast(mask, dtype="int64"), **settings) > 0
        return where(any_step, max_(where(mask, x, -math.inf), **settings), 0.0)


class GlobalMaxPooling1D(GlobalMaxPooling):
    """The largest value of each channel over the valid steps; zero for a row without any.

    Input ``(batch, length, channels)``, output ``(batch, channels)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalMaxPooling1D()(gt.placeholder((2, 9, 4))).spec)
    float32[2, 4]
    """
    rank = 1


class GlobalMaxPooling2D(GlobalMaxPooling):
    """The largest value of each channel over all pixels.

    Input ``(batch, height, width, channels)``, output ``(batch, channels)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalMaxPooling2D()(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 4]
    """
    rank = 2


class GlobalMaxPooling3D(GlobalMaxPooling):
    """The largest value of each channel over all voxels.

    Input ``(batch, depth, height, width, channels)``, output ``(batch, channels)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalMaxPooling3D()(gt.placeholder((2, 3, 8, 8, 4))).spec)
    float32[2, 4]
    """
    rank = 3
