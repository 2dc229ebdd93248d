"""Convolutions over one, two or three spatial axes, channels last."""
from __future__ import annotations

from ..backend import Spec, Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.convolution import convolution
from .affine import Affine
from .arguments import one_of, positive_int, sizes
from .spatial import Spatial


class Convolution(Affine, Spatial):
    """What convolution layers share: a window that slides.

    Parameters
    ----------
    filters : int
        Number of outputs per step, pixel or voxel.
    kernel_size : int or one int per spatial axis
        Extent of a window.
    strides : int or one int per spatial axis
        Steps, pixels or voxels from one window to the next.
    padding : {"valid", "same"}
        Windows inside the input only; or zeros around it, so that ``ceil(size / strides)`` come
        out. Over steps also "causal": zeros before the first alone, so that no output sees what
        comes after it.
    dilation_rate : int or one int per spatial axis
        Distance of a window's steps, pixels or voxels.

    Raises
    ------
    ShapeError
        If the input has other axes, or channels that cannot be divided into groups.
    """
    can_be_causal = True

    def slide(self, kernel_size, strides, padding, dilation_rate) -> None:
        """Check and keep how the window moves."""
        self.kernel_size, self.strides, self.padding = kernel_size, strides, padding
        self.dilation_rate = dilation_rate
        self.window = sizes("kernel_size", kernel_size, self.rank)
        causal = ("causal",) if self.rank == 1 and self.can_be_causal else ()
        one_of("padding", padding, ("valid", "same", *causal))
        self.sliding = {"strides": sizes("strides", strides, self.rank), "padding": padding,
                        "dilation": sizes("dilation_rate", dilation_rate, self.rank)}

    @property
    def keeps_time(self) -> bool:
        """Causal steps of one see nothing beyond a row's length, all other windows do."""
        return self.padding == "causal" and self.sliding["strides"] == (1,)


class FullConvolution(Convolution):
    """Convolution over all channels, or all channels of a group.

    Parameters
    ----------
    groups : int
        Parts the channels are divided into; each filter sees one.
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
        self.settle_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.finish(activation, use_bias, bias_initializer, bias_regularizer, bias_constraint)

    def build(self, spec: Spec) -> None:
        channels = spec.shape[-1]
        if channels % self.groups:
            raise ShapeError(f"{self.label}: {channels} channels cannot be divided into "
                             f"{self.groups} groups",
                             fix="use a number of groups that divides the channels")
        self.kernel = self.add_weight(
            "kernel", (*self.window, channels // self.groups, self.filters),
            **self.weight_settings("kernel"))
        self.add_bias(self.filters)

    def call(self, x: Tensor) -> Tensor:
        return self.finished(convolution(x, self.kernel, groups=self.groups, **self.sliding))


class Conv1D(FullConvolution):
    """Convolution over time: every output sees ``kernel_size`` neighbouring steps.

    ``out[n, t, f] = activation(sum_{w,c} x[n, t * strides + w * dilation - low, c] kernel[w, c, f]
    + bias[f])``; Goodfellow, Bengio and Courville, *Deep Learning*, 2016, equation 9.6. Input
    ``(batch, length, channels)``, output ``(batch, steps, filters)``. Lengths end here, except
    with causal padding and strides of one, which see no step after their own.

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

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Conv2D(8, 3, strides=2, padding="same")(gt.placeholder((2, 9, 9, 3))).spec)
    float32[2, 5, 5, 8]
    """
    rank = 2


class Conv3D(FullConvolution):
    """Convolution over volumes: every output sees a window of voxels.

    As `Conv2D`, with one axis more: Tran et al., "Learning spatiotemporal features with 3D
    convolutional networks", 2015. Input ``(batch, depth, height, width, channels)``, output
    likewise with ``filters`` channels.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Conv3D(8, 3, padding="same")(gt.placeholder((2, 5, 9, 9, 3))).spec)
    float32[2, 5, 9, 9, 8]
    """
    rank = 3
