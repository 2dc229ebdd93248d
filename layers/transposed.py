"""Transposed convolutions: every step, pixel or voxel spreads a window over a larger output."""
from __future__ import annotations

import numpy as np

from ..backend import Spec, Tensor
from ..backend.errors import ParameterError
from ..backend.ops.convolution import convolution_data_gradient
from .arguments import positive_int
from .convolution import Convolution


class Transposed(Convolution):
    """What transposed convolutions share: they are a convolution's gradient by its input.

    Parameters
    ----------
    strides : int or one int per spatial axis
        Steps, pixels or voxels of the output from one window to the next.
    padding : {"valid", "same"}
        All that windows reach; or ``size * strides`` of it, the margins cut off.
    output_padding : int or one int per spatial axis, optional
        How many more at the end, less than strides; by default as many as ``padding`` says.
    kernel_initializer : str or Initializer
        How the first values of the kernel ``(*kernel_size, filters, channels)`` are drawn.

    Raises
    ------
    ShapeError
        If the input has other axes.
    """
    can_be_causal = False

    def __init__(self, filters: int, kernel_size, strides=1, padding: str = "valid",
                 output_padding=None, dilation_rate=1, activation=None, use_bias: bool = True,
                 kernel_initializer="glorot_uniform", bias_initializer="zeros",
                 kernel_regularizer=None, bias_regularizer=None, kernel_constraint=None,
                 bias_constraint=None, name: str | None = None):
        super().__init__(name)
        self.filters = positive_int("filters", filters)
        self.slide(kernel_size, strides, padding, dilation_rate)
        self.output_padding = output_padding
        self.further = self.checked_further(output_padding)
        self.settle_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.finish(activation, use_bias, bias_initializer, bias_regularizer, bias_constraint)

    def checked_further(self, value) -> tuple[int | None, ...]:
        """``output_padding`` of each axis."""
        if value is None:
            return (None,) * self.rank
        each = (value,) * self.rank if isinstance(value, (int, np.integer)) else value
        whole = isinstance(each, (tuple, list)) and len(each) == self.rank and all(
            isinstance(n, (int, np.integer)) and not isinstance(n, bool) and 0 <= n < stride
            for n, stride in zip(each, self.sliding["strides"]))
        if not whole:
            raise ParameterError("output_padding must be from 0 on and less than strides, "
                                 f"not {value!r}")
        return tuple(map(int, each))

    def build(self, spec: Spec) -> None:
        self.kernel = self.add_weight("kernel", (*self.window, self.filters, spec.shape[-1]),
                                      **self.weight_settings("kernel"))
        self.add_bias(self.filters)

    def grown(self, size: int, axis: int) -> int:
        """The output's length along an axis: Keras's rule."""
        stride, further = self.sliding["strides"][axis], self.further[axis]
        reach = (self.window[axis] - 1) * self.sliding["dilation"][axis] + 1
        if further is None:
            return size * stride + (max(reach - stride, 0) if self.padding == "valid" else 0)
        trimmed = 2 * (reach // 2) if self.padding == "same" else 0
        grown = (size - 1) * stride + reach - trimmed + further
        if self.padding == "same" and -(-grown // stride) != size:
            raise ParameterError(f"{self.label}: output_padding={further} does not go with an even "
                                 "window and padding=\"same\"", fix="leave output_padding out")
        return grown

    def call(self, x: Tensor) -> Tensor:
        size = tuple(self.grown(n, i) for i, n in enumerate(x.shape[1:-1]))
        return self.finished(convolution_data_gradient(x, self.kernel, size=size, **self.sliding))


class Conv1DTranspose(Transposed):
    """Transposed convolution over time: every step spreads a window over a longer sequence.

    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4.
    Input ``(batch, length, channels)``, output ``(batch, steps, filters)``. Lengths end here.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Conv1DTranspose(8, 3, strides=2)(gt.placeholder((2, 5, 4))).spec)
    float32[2, 11, 8]
    """
    rank = 1


class Conv2DTranspose(Transposed):
    """Transposed convolution over images: every pixel spreads a window over a larger image.

    The gradient of `Conv2D` by its input: ``out[n, i * s + v, j * s + w, f]`` collects ``x[n, i,
    j, c] kernel[v, w, f, c]`` for strides ``s``. Dumoulin and Visin, "A guide to convolution
    arithmetic for deep learning", 2016, chapter 4. Input ``(batch, height, width, channels)``,
    output ``(batch, rows, columns, filters)``.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.placeholder((2, 7, 7, 4))
    >>> print(layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x).spec)
    float32[2, 14, 14, 8]
    """
    rank = 2


class Conv3DTranspose(Transposed):
    """Transposed convolution over volumes: every voxel spreads a window over a larger volume.

    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4.
    Input ``(batch, depth, height, width, channels)``, output likewise with ``filters`` channels.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.placeholder((2, 3, 4, 4, 2))
    >>> print(layers.Conv3DTranspose(8, 2, strides=2)(x).spec)
    float32[2, 6, 8, 8, 8]
    """
    rank = 3
