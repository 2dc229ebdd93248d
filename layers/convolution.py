"""Convolutions over one or two spatial axes: full and depthwise, channels last."""
from __future__ import annotations

from ..backend import Spec, Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.activations import activation as find_activation
from ..backend.ops.convolution import convolution
from ..backend.ops.shape import reshape
from .arguments import one_of, positive_int, sizes
from .base import Layer
from .constraints import constraint
from .initializers import initializer
from .regularizers import regularizer

AXES = {1: "(batch, length, channels)", 2: "(batch, height, width, channels)",
        3: "(batch, depth, height, width, channels)"}
PADDINGS = {1: ("valid", "same", "causal"), 2: ("valid", "same"), 3: ("valid", "same")}


class Convolution(Layer):
    """What convolution layers share: a window that slides, a bias and an activation."""
    rank = 2
    kernel_constraint = bias_constraint = None

    def slide(self, kernel_size, strides, padding, dilation_rate) -> None:
        """Check and keep how the window moves."""
        self.kernel_size, self.strides, self.padding = kernel_size, strides, padding
        self.dilation_rate = dilation_rate
        self.window = sizes("kernel_size", kernel_size, self.rank)
        one_of("padding", padding, PADDINGS[self.rank])
        self.sliding = {"strides": sizes("strides", strides, self.rank), "padding": padding,
                        "dilation": sizes("dilation_rate", dilation_rate, self.rank)}

    def finish(self, activation, use_bias, bias_initializer, bias_regularizer) -> None:
        """Check and keep what is done to the sums."""
        self.activation, self.use_bias = activation, use_bias
        self.bias_initializer, self.bias_regularizer = bias_initializer, bias_regularizer
        find_activation(activation), initializer(bias_initializer), regularizer(bias_regularizer)

    @property
    def keeps_time(self) -> bool:
        """Causal steps of one see nothing beyond a row's length, all other windows do."""
        return self.padding == "causal" and self.sliding["strides"] == (1,)

    def channels(self, spec: Spec) -> int:
        """Channels of an input that has the right axes."""
        if len(spec.shape) != self.rank + 1:
            raise ShapeError(f"{type(self).__name__} needs {AXES[self.rank]}",
                             got=f"{list(spec.shape)} (without batch)",
                             fix="reshape the input; one channel is an axis of length 1")
        return spec.shape[-1]

    def add_bias(self, filters: int) -> None:
        """One bias per filter."""
        if self.use_bias:
            self.bias = self.add_weight("bias", (filters,), self.bias_initializer,
                                        self.bias_regularizer, constraint=self.bias_constraint)

    def constrain(self, kernel_constraint, bias_constraint) -> None:
        """Check and keep what the weights are put back to."""
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint
        constraint(kernel_constraint), constraint(bias_constraint)

    def finished(self, sums: Tensor) -> Tensor:
        """``activation(sums + bias)``."""
        return find_activation(self.activation)(sums + self.bias if self.use_bias else sums)

    def depthwise(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Each channel with filters of its own; filter m of channel c is output c * mult + m."""
        *window, channels, multiplier = kernel.shape
        kernel = reshape(kernel, shape=(*window, 1, channels * multiplier))
        return convolution(x, kernel, groups=channels, **self.sliding)


class FullConvolution(Convolution):
    """Convolution over all channels, or all channels of a group.

    Parameters
    ----------
    kernel_constraint, bias_constraint : str or Constraint, optional
        What they are put back to after every step, such as ``"max_norm"``.
    """

    def __init__(self, filters: int, kernel_size, strides=1, padding: str = "valid",
                 dilation_rate=1, groups: int = 1, activation=None, use_bias: bool = True,
                 kernel_initializer="glorot_uniform", bias_initializer="zeros",
                 kernel_regularizer=None, bias_regularizer=None, kernel_constraint=None,
                 bias_constraint=None, name: str | None = None):
        super().__init__(name)
        self.filters, self.groups = positive_int("filters", filters), positive_int("groups", groups)
        if filters % groups:
            raise ParameterError(f"{filters} filters cannot be divided into {groups} groups",
                                 fix="use a number of groups that divides filters")
        self.slide(kernel_size, strides, padding, dilation_rate)
        self.finish(activation, use_bias, bias_initializer, bias_regularizer)
        self.kernel_initializer, self.kernel_regularizer = kernel_initializer, kernel_regularizer
        self.constrain(kernel_constraint, bias_constraint)
        initializer(kernel_initializer), regularizer(kernel_regularizer)

    def build(self, spec: Spec) -> None:
        channels = self.channels(spec)
        if channels % self.groups:
            raise ShapeError(f"{self.label}: {channels} channels cannot be divided into "
                             f"{self.groups} groups",
                             fix="use a number of groups that divides the channels")
        self.kernel = self.add_weight("kernel",
                                      (*self.window, channels // self.groups, self.filters),
                                      self.kernel_initializer, self.kernel_regularizer,
                                      constraint=self.kernel_constraint)
        self.add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        return self.finished(convolution(x, self.kernel, groups=self.groups, **self.sliding))


class Conv1D(FullConvolution):
    """Convolution over time: every output sees ``kernel_size`` neighbouring steps.

    ``out[n, t, f] = activation(sum_{w,c} x[n, t * strides + w * dilation - low, c] kernel[w, c, f]
    + bias[f])``; Goodfellow, Bengio and Courville, *Deep Learning*, 2016, equation 9.6. Input
    ``(batch, length, channels)``, output ``(batch, steps, filters)``. Lengths end here, except
    with causal padding and strides of one, which see no step after their own.

    Parameters
    ----------
    filters : int
        Number of outputs per step.
    kernel_size : int
        Steps in a window.
    strides : int
        Steps from one window to the next.
    padding : {"valid", "same", "causal"}
        Windows inside the input only; zeros around it, so that ``ceil(length / strides)`` steps
        come out; zeros before it only, so that no output sees what comes after it.
    dilation_rate : int
        Distance of a window's steps.
    groups : int
        Parts the channels are divided into; each filter sees one.
    activation : str or callable, optional
        Applied to the result; None is linear.
    use_bias : bool
        Whether to add a bias.
    kernel_initializer, bias_initializer : str or Initializer
        How the first values are drawn.
    kernel_regularizer, bias_regularizer : Regularizer, optional
        Penalties added to the loss.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes, or channels that cannot be divided into the groups.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Conv1D(8, 3, padding="causal")(gt.placeholder((2, 10, 4))).spec)
    float32[2, 10, 8]
    """
    rank = 1


class Conv2D(FullConvolution):
    """Convolution over images: every output sees a window of pixels.

    ``out[n, i, j, f] = activation(sum_{v,w,c} x[n, i + v, j + w, c] kernel[v, w, c, f] + bias[f])``
    for strides and dilation of one; LeCun et al., "Gradient-based learning applied to document
    recognition", 1998. Input ``(batch, height, width, channels)``, output ``(batch, rows, columns,
    filters)``.

    Parameters
    ----------
    filters : int
        Number of outputs per pixel.
    kernel_size : int or pair of int
        Height and width of a window.
    strides : int or pair of int
        Pixels from one window to the next.
    padding : {"valid", "same"}
        Windows inside the input only; or zeros around it, so that ``ceil(size / strides)`` come
        out.
    dilation_rate : int or pair of int
        Distance of a window's pixels.
    groups : int
        Parts the channels are divided into; each filter sees one.
    activation : str or callable, optional
        Applied to the result; None is linear.
    use_bias : bool
        Whether to add a bias.
    kernel_initializer, bias_initializer : str or Initializer
        How the first values are drawn.
    kernel_regularizer, bias_regularizer : Regularizer, optional
        Penalties added to the loss.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes, or channels that cannot be divided into the groups.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Conv2D(8, 3, strides=2, padding="same")(gt.placeholder((2, 9, 9, 3))).spec)
    float32[2, 5, 5, 8]
    """


class _Depthwise(Convolution):
    """Convolution of each channel with filters of its own."""

    def __init__(self, kernel_size, strides=1, padding: str = "valid", depth_multiplier: int = 1,
                 dilation_rate=1, activation=None, use_bias: bool = True,
                 depthwise_initializer="glorot_uniform", bias_initializer="zeros",
                 depthwise_regularizer=None, bias_regularizer=None, name: str | None = None):
        super().__init__(name)
        self.depth_multiplier = positive_int("depth_multiplier", depth_multiplier)
        self.slide(kernel_size, strides, padding, dilation_rate)
        self.finish(activation, use_bias, bias_initializer, bias_regularizer)
        self.depthwise_initializer = depthwise_initializer
        self.depthwise_regularizer = depthwise_regularizer
        initializer(depthwise_initializer), regularizer(depthwise_regularizer)

    def build(self, spec: Spec) -> None:
        channels = self.channels(spec)
        self.kernel = self.add_weight("kernel", (*self.window, channels, self.depth_multiplier),
                                      self.depthwise_initializer, self.depthwise_regularizer)
        self.add_bias(channels * self.depth_multiplier)

    def call(self, x: Tensor) -> Tensor:
        return self.finished(self.depthwise(x, self.kernel))


class DepthwiseConv1D(_Depthwise):
    """Convolution over time of each channel by itself.

    Chollet, "Xception", 2017, section 2. Input ``(batch, length, channels)``, output ``(batch,
    steps, channels * depth_multiplier)``, the filters of a channel side by side.

    Parameters
    ----------
    kernel_size, strides, padding, dilation_rate
        As for `Conv1D`.
    depth_multiplier : int
        Filters per channel.
    activation, use_bias, bias_initializer, bias_regularizer
        As for `Conv1D`.
    depthwise_initializer, depthwise_regularizer
        Of the kernel ``(kernel_size, channels, depth_multiplier)``.
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
    >>> print(layers.DepthwiseConv1D(3, depth_multiplier=2)(gt.placeholder((2, 10, 4))).spec)
    float32[2, 8, 8]
    """
    rank = 1


class DepthwiseConv2D(_Depthwise):
    """Convolution over images of each channel by itself.

    Chollet, "Xception", 2017, section 2. Input ``(batch, height, width, channels)``, output
    ``(batch, rows, columns, channels * depth_multiplier)``, the filters of a channel side by side.

    Parameters
    ----------
    kernel_size, strides, padding, dilation_rate
        As for `Conv2D`.
    depth_multiplier : int
        Filters per channel.
    activation, use_bias, bias_initializer, bias_regularizer
        As for `Conv2D`.
    depthwise_initializer, depthwise_regularizer
        Of the kernel ``(height, width, channels, depth_multiplier)``.
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
    >>> print(layers.DepthwiseConv2D(3, padding="same")(gt.placeholder((2, 8, 8, 4))).spec)
    float32[2, 8, 8, 4]
    """
