"""Separable convolutions: each channel by itself, then all channels at every place."""
from __future__ import annotations

from ..backend import Spec, Tensor
from ..backend.ops.convolution import convolution
from .arguments import positive_int
from .convolution import Convolution
from .initializers import initializer
from .regularizers import regularizer


class _Separable(Convolution):
    """A depthwise convolution, then a matrix product of the channels at every place."""

    def __init__(self, filters: int, kernel_size, strides=1, padding: str = "valid",
                 dilation_rate=1, depth_multiplier: int = 1, activation=None,
                 use_bias: bool = True, depthwise_initializer="glorot_uniform",
                 pointwise_initializer="glorot_uniform", bias_initializer="zeros",
                 depthwise_regularizer=None, pointwise_regularizer=None, bias_regularizer=None,
                 name: str | None = None):
        super().__init__(name)
        self.filters = positive_int("filters", filters)
        self.depth_multiplier = positive_int("depth_multiplier", depth_multiplier)
        self.slide(kernel_size, strides, padding, dilation_rate)
        self.finish(activation, use_bias, bias_initializer, bias_regularizer)
        self.depthwise_initializer = depthwise_initializer
        self.pointwise_initializer = pointwise_initializer
        self.depthwise_regularizer = depthwise_regularizer
        self.pointwise_regularizer = pointwise_regularizer
        initializer(depthwise_initializer), initializer(pointwise_initializer)
        regularizer(depthwise_regularizer), regularizer(pointwise_regularizer)

    def build(self, spec: Spec) -> None:
        channels = self.channels(spec)
        self.depthwise_kernel = self.add_weight(
            "depthwise_kernel", (*self.window, channels, self.depth_multiplier),
            self.depthwise_initializer, self.depthwise_regularizer)
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel", (*(1,) * self.rank, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer, self.pointwise_regularizer)
        self.add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        return self.finished(convolution(self.depthwise(x, self.depthwise_kernel),
                                         self.pointwise_kernel))


class SeparableConv1D(_Separable):
    """Convolution over time in two steps: each channel by itself, then all channels at a step.

    Chollet, "Xception", 2017, section 2. Input ``(batch, length, channels)``, output ``(batch,
    steps, filters)``.

    Parameters
    ----------
    filters, kernel_size, strides, padding, dilation_rate
        As for `Conv1D`.
    depth_multiplier : int
        Filters per channel in the first step.
    activation, use_bias, bias_initializer, bias_regularizer
        As for `Conv1D`.
    depthwise_initializer, depthwise_regularizer
        Of the first kernel ``(kernel_size, channels, depth_multiplier)``.
    pointwise_initializer, pointwise_regularizer
        Of the second kernel ``(1, channels * depth_multiplier, filters)``.
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
    >>> print(layers.SeparableConv1D(8, 3)(gt.placeholder((2, 10, 4))).spec)
    float32[2, 8, 8]
    """
    rank = 1


class SeparableConv2D(_Separable):
    """Convolution over images in two steps: each channel by itself, then all channels of a pixel.

    Chollet, "Xception", 2017, section 2. Input ``(batch, height, width, channels)``, output
    ``(batch, rows, columns, filters)``.

    Parameters
    ----------
    filters, kernel_size, strides, padding, dilation_rate
        As for `Conv2D`.
    depth_multiplier : int
        Filters per channel in the first step.
    activation, use_bias, bias_initializer, bias_regularizer
        As for `Conv2D`.
    depthwise_initializer, depthwise_regularizer
        Of the first kernel ``(height, width, channels, depth_multiplier)``.
    pointwise_initializer, pointwise_regularizer
        Of the second kernel ``(1, 1, channels * depth_multiplier, filters)``.
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
    >>> print(layers.SeparableConv2D(8, 3, padding="same")(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 8, 8, 8]
    """
