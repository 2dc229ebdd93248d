"""Depthwise and separable convolutions: each channel by itself, then perhaps all at every place."""
from __future__ import annotations

from ..backend import Spec, Tensor
from ..backend.ops.convolution import convolution
from ..backend.ops.shape import reshape
from .arguments import positive_int
from .convolution import Convolution


class Depthwise(Convolution):
    """Convolution of each channel with filters of its own.

    Parameters
    ----------
    depth_multiplier : int
        Filters per channel.
    depthwise_initializer : str or Initializer
        How the first values of their kernel ``(*kernel_size, channels, depth_multiplier)`` are
        drawn.
    depthwise_regularizer : Regularizer, optional
        A penalty on that kernel, added to the loss.
    depthwise_constraint : str or Constraint, optional
        What that kernel is put back to after every step.
    """

    def __init__(self, kernel_size, strides=1, padding: str = "valid", depth_multiplier: int = 1,
                 dilation_rate=1, activation=None, use_bias: bool = True,
                 depthwise_initializer="glorot_uniform", bias_initializer="zeros",
                 depthwise_regularizer=None, bias_regularizer=None, depthwise_constraint=None,
                 bias_constraint=None, name: str | None = None):
        super().__init__(name)
        self.depth_multiplier = positive_int("depth_multiplier", depth_multiplier)
        self.slide(kernel_size, strides, padding, dilation_rate)
        self.settle_weight("depthwise", depthwise_initializer, depthwise_regularizer,
                           depthwise_constraint)
        self.finish(activation, use_bias, bias_initializer, bias_regularizer, bias_constraint)

    def build(self, spec: Spec) -> None:
        self.add_kernel("kernel", spec.shape[-1])
        self.add_bias(spec.shape[-1] * self.depth_multiplier)

    def add_kernel(self, name: str, channels: int) -> None:
        """The filters of every channel."""
        self.kernel = self.add_weight(name, (*self.window, channels, self.depth_multiplier),
                                      **self.weight_settings("depthwise"))

    def call(self, x: Tensor) -> Tensor:
        return self.finished(self.depthwise(x))

    def depthwise(self, x: Tensor) -> Tensor:
        """Filter m of channel c is output ``c * depth_multiplier + m``."""
        *window, channels, multiplier = self.kernel.shape
        kernel = reshape(self.kernel, shape=(*window, 1, channels * multiplier))
        return convolution(x, kernel, groups=channels, **self.sliding)


class DepthwiseConv1D(Depthwise):
    """Convolution over time of each channel by itself.

    Chollet, "Xception", 2017, section 2. Input ``(batch, length, channels)``, output ``(batch,
    steps, channels * depth_multiplier)``, the filters of a channel side by side.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.DepthwiseConv1D(3, depth_multiplier=2)(gt.placeholder((2, 10, 4))).spec)
    float32[2, 8, 8]
    """
    rank = 1


class DepthwiseConv2D(Depthwise):
    """Convolution over images of each channel by itself.

    Chollet, "Xception", 2017, section 2. Input ``(batch, height, width, channels)``, output
    ``(batch, rows, columns, channels * depth_multiplier)``, the filters of a channel side by side.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.DepthwiseConv2D(3, padding="same")(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 8, 8, 4]
    """
    rank = 2


class Separable(Depthwise):
    """A depthwise convolution, then a matrix product of the channels at every place.

    Parameters
    ----------
    pointwise_initializer : str or Initializer
        How the first values of that product's kernel ``(1, ..., channels * depth_multiplier,
        filters)`` are drawn.
    pointwise_regularizer : Regularizer, optional
        A penalty on it, added to the loss.
    pointwise_constraint : str or Constraint, optional
        What it is put back to after every step.
    """

    def __init__(self, filters: int, kernel_size, strides=1, padding: str = "valid",
                 dilation_rate=1, depth_multiplier: int = 1, activation=None,
                 use_bias: bool = True, depthwise_initializer="glorot_uniform",
                 pointwise_initializer="glorot_uniform", bias_initializer="zeros",
                 depthwise_regularizer=None, pointwise_regularizer=None, bias_regularizer=None,
                 depthwise_constraint=None, pointwise_constraint=None, bias_constraint=None,
                 name: str | None = None):
        super().__init__(kernel_size, strides, padding, depth_multiplier, dilation_rate,
                         activation, use_bias, depthwise_initializer, bias_initializer,
                         depthwise_regularizer, bias_regularizer, depthwise_constraint,
                         bias_constraint, name)
        self.filters = positive_int("filters", filters)
        self.settle_weight("pointwise", pointwise_initializer, pointwise_regularizer,
                           pointwise_constraint)

    def build(self, spec: Spec) -> None:
        channels = spec.shape[-1]
        self.add_kernel("depthwise_kernel", channels)
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel", (*(1,) * self.rank, channels * self.depth_multiplier, self.filters),
            **self.weight_settings("pointwise"))
        self.add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        return self.finished(convolution(self.depthwise(x), self.pointwise_kernel))


class SeparableConv1D(Separable):
    """Convolution over time in two steps: each channel by itself, then all channels at a step.

    Chollet, "Xception", 2017, section 2. Input ``(batch, length, channels)``, output ``(batch,
    steps, filters)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.SeparableConv1D(8, 3)(gt.placeholder((2, 10, 4))).spec)
    float32[2, 8, 8]
    """
    rank = 1


class SeparableConv2D(Separable):
    """Convolution over images in two steps: each channel by itself, then all channels of a pixel.

    Chollet, "Xception", 2017, section 2. Input ``(batch, height, width, channels)``, output
    ``(batch, rows, columns, filters)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.SeparableConv2D(8, 3, padding="same")(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 8, 8, 8]
    """
    rank = 2
