"""Pooling: the mean or the maximum of windows, or of all steps or pixels."""
from __future__ import annotations

import math

from ..backend import Spec, Tensor
from ..backend.errors import ShapeError
from ..backend.ops.elementwise import cast, maximum, where
from ..backend.ops.indexing import sequence_mask
from ..backend.ops.pooling import average_pool, max_pool
from ..backend.ops.reductions import max_, mean, sum_
from .arguments import one_of, sizes
from .base import Flow, Layer
from .convolution import AXES


class _Pooling(Layer):
    """What all pooling shares: the axes of its input."""
    rank = 2

    def check(self, spec: Spec) -> None:
        if len(spec.shape) != self.rank + 1:
            raise ShapeError(f"{type(self).__name__} needs {AXES[self.rank]}",
                             got=f"{list(spec.shape)} (without batch)",
                             fix="reshape the input; one channel is an axis of length 1")


class WindowPooling(_Pooling):
    """Pooling over windows."""

    def __init__(self, pool_size=2, strides=None, padding: str = "valid",
                 name: str | None = None):
        super().__init__(name)
        self.pool_size, self.strides = pool_size, strides
        self.padding = one_of("padding", padding, ("valid", "same"))
        window = sizes("pool_size", pool_size, self.rank)
        self.sliding = {"pool_size": window, "padding": padding, "strides": (
            window if strides is None else sizes("strides", strides, self.rank))}


class MaxPooling1D(WindowPooling):
    """The largest value of each channel in windows of steps.

    Input ``(batch, length, channels)``, output ``(batch, steps, channels)``. Padding is never the
    largest. Lengths end here.

    Parameters
    ----------
    pool_size : int
        Steps in a window.
    strides : int, optional
        Steps from one window to the next; ``pool_size`` by default.
    padding : {"valid", "same"}
        Windows inside the input only, or ``ceil(length / strides)`` of them.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes, or is shorter than a window.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.MaxPooling1D()(gt.placeholder((2, 9, 4))).spec)
    float32[2, 4, 4]
    """
    rank = 1

    def call(self, x: Tensor) -> Tensor:
        return max_pool(x, **self.sliding)[0]


class MaxPooling2D(WindowPooling):
    """The largest value of each channel in windows of pixels.

    Ranzato et al., "Unsupervised learning of invariant feature hierarchies", 2007. Input ``(batch,
    height, width, channels)``, output ``(batch, rows, columns, channels)``. Padding is never the
    largest.

    Parameters
    ----------
    pool_size : int or pair of int
        Height and width of a window.
    strides : int or pair of int, optional
        Pixels from one window to the next; ``pool_size`` by default.
    padding : {"valid", "same"}
        Windows inside the input only, or ``ceil(size / strides)`` of them.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes, or is smaller than a window.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.MaxPooling2D()(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 4, 4, 4]
    """

    def call(self, x: Tensor) -> Tensor:
        return max_pool(x, **self.sliding)[0]


class AveragePooling1D(WindowPooling):
    """The mean of each channel in windows of steps.

    Input ``(batch, length, channels)``, output ``(batch, steps, channels)``. Padding is not
    counted. Lengths end here.

    Parameters
    ----------
    pool_size : int
        Steps in a window.
    strides : int, optional
        Steps from one window to the next; ``pool_size`` by default.
    padding : {"valid", "same"}
        Windows inside the input only, or ``ceil(length / strides)`` of them.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes, or is shorter than a window.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.AveragePooling1D(3, strides=1)(gt.placeholder((2, 9, 4))).spec)
    float32[2, 7, 4]
    """
    rank = 1

    def call(self, x: Tensor) -> Tensor:
        return average_pool(x, **self.sliding)


class AveragePooling2D(WindowPooling):
    """The mean of each channel in windows of pixels.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998. Input ``(batch,
    height, width, channels)``, output ``(batch, rows, columns, channels)``. Padding is not
    counted.

    Parameters
    ----------
    pool_size : int or pair of int
        Height and width of a window.
    strides : int or pair of int, optional
        Pixels from one window to the next; ``pool_size`` by default.
    padding : {"valid", "same"}
        Windows inside the input only, or ``ceil(size / strides)`` of them.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes, or is smaller than a window.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.AveragePooling2D((1, 2))(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 8, 4, 4]
    """

    def call(self, x: Tensor) -> Tensor:
        return average_pool(x, **self.sliding)


class _Global(_Pooling):
    """Pooling over all steps or pixels; over a row's valid steps where lengths are known."""

    def __init__(self, keepdims: bool = False, name: str | None = None):
        super().__init__(name)
        self.keepdims = keepdims

    def forward(self, flow: Flow, training: bool) -> Flow:
        settings = {"axis": tuple(range(1, self.rank + 1)), "keepdims": bool(self.keepdims)}
        if flow.lengths is None or self.rank > 1:
            return flow.to(self.all(flow.x, settings), lengths=None)
        mask = sequence_mask(flow.x, flow.lengths)[:, :, None]            # (batch, length, 1)
        return flow.to(self.valid(flow.x, mask, settings), lengths=None)

    def all(self, x: Tensor, settings: dict) -> Tensor:
        """Of all steps or pixels."""
        raise NotImplementedError(f"{type(self).__name__} does not define all")

    def valid(self, x: Tensor, mask: Tensor, settings: dict) -> Tensor:
        """Of the steps where the mask holds; zero for a row without any."""
        raise NotImplementedError(f"{type(self).__name__} does not define valid")


class GlobalMean(_Global):
    """The mean of all steps or pixels."""

    def all(self, x, settings):
        return mean(x, **settings)

    def valid(self, x, mask, settings):
        count = maximum(sum_(cast(mask, dtype=x.dtype.name), **settings), 1.0)
        return sum_(where(mask, x, 0.0), **settings) / count


class GlobalLargest(_Global):
    """The largest value of all steps or pixels."""

    def all(self, x, settings):
        return max_(x, **settings)

    def valid(self, x, mask, settings):
        any_step = sum_(cast(mask, dtype="int64"), **settings) > 0
        return where(any_step, max_(where(mask, x, -math.inf), **settings), 0.0)


class GlobalAveragePooling1D(GlobalMean):
    """The mean of each channel over the valid steps; zero for a row without any.

    Input ``(batch, length, channels)``, output ``(batch, channels)``.

    Parameters
    ----------
    keepdims : bool
        Whether the time axis stays, with length 1.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalAveragePooling1D()(gt.placeholder((2, 9, 4))).spec)
    float32[2, 4]
    """
    rank = 1


class GlobalAveragePooling2D(GlobalMean):
    """The mean of each channel over all pixels.

    Lin, Chen and Yan, "Network in network", 2014, section 3.2. Input ``(batch, height, width,
    channels)``, output ``(batch, channels)``.

    Parameters
    ----------
    keepdims : bool
        Whether the pixel axes stay, with length 1.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalAveragePooling2D(keepdims=True)(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 1, 1, 4]
    """


class GlobalMaxPooling1D(GlobalLargest):
    """The largest value of each channel over the valid steps; zero for a row without any.

    Input ``(batch, length, channels)``, output ``(batch, channels)``.

    Parameters
    ----------
    keepdims : bool
        Whether the time axis stays, with length 1.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalMaxPooling1D()(gt.placeholder((2, 9, 4))).spec)
    float32[2, 4]
    """
    rank = 1


class GlobalMaxPooling2D(GlobalLargest):
    """The largest value of each channel over all pixels.

    Input ``(batch, height, width, channels)``, output ``(batch, channels)``.

    Parameters
    ----------
    keepdims : bool
        Whether the pixel axes stay, with length 1.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.GlobalMaxPooling2D()(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 4]
    """
