"""Layers over volumes, three spatial axes: convolution, pooling, padding and their like."""
from __future__ import annotations

from ..backend import Tensor
from ..backend.ops.pooling import average_pool, max_pool
from .convolution import FullConvolution
from .dropout import Dropout
from .pooling import GlobalLargest, GlobalMean, WindowPooling
from .shaping import Cropping1D, UpSampling1D, ZeroPadding1D, open_reshape


class Conv3D(FullConvolution):
    """Convolution over volumes: every output sees a window of voxels.

    As `Conv2D`, with one axis more: Tran et al., "Learning spatiotemporal features with 3D
    convolutional networks", 2015. Input ``(batch, depth, height, width, channels)``, output
    likewise with ``filters`` channels.

    Parameters
    ----------
    filters : int
        Number of outputs per voxel.
    kernel_size : int or three int
        Depth, height and width of a window.
    strides : int or three int
        Voxels from one window to the next.
    padding : {"valid", "same"}
        Windows inside the input only; or zeros around it, so that ``ceil(size / strides)`` come
        out.
    dilation_rate : int or three int
        Distance of a window's voxels.
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
    >>> print(layers.Conv3D(8, 3, padding="same")(gt.placeholder((2, 5, 9, 9, 3))).spec)
    float32[2, 5, 9, 9, 8]
    """
    rank = 3


# ---- pooling -----------------------------------------------------------------------------------

class VolumePooling(WindowPooling):
    """Pooling over boxes: over the planes first, then what comes of them along the depth."""
    rank = 3

    def call(self, x: Tensor) -> Tensor:
        depth, *plane, channels = x.shape[1:]
        along = [{k: v if k == "padding" else v[part] for k, v in self.sliding.items()}
                 for part in (slice(1, None), slice(0, 1))]
        flat = self.pooled(open_reshape(x, *plane, channels), **along[0])  # (batch * depth, ...)
        plane = flat.shape[1:]
        rows = open_reshape(flat, depth, plane[0] * plane[1] * channels)
        y = self.pooled(rows, **along[1])
        return open_reshape(y, y.shape[1], *plane)

    def pooled(self, x: Tensor, **sliding) -> Tensor:
        """Pooling over one axis or two."""
        raise NotImplementedError(f"{type(self).__name__} does not define pooled")


class MaxPooling3D(VolumePooling):
    """The largest value of each channel in boxes of voxels.

    Input ``(batch, depth, height, width, channels)``, output likewise. Padding is never the
    largest.

    Parameters
    ----------
    pool_size : int or three int
        Depth, height and width of a box.
    strides : int or three int, optional
        Voxels from one box to the next; ``pool_size`` by default.
    padding : {"valid", "same"}
        Boxes inside the input only, or ``ceil(size / strides)`` of them.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes, or is smaller than a box.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.MaxPooling3D()(gt.placeholder((2, 5, 8, 8, 4))).spec)
    float32[2, 2, 4, 4, 4]
    """

    def pooled(self, x: Tensor, **sliding) -> Tensor:
        return max_pool(x, **sliding)[0]


class AveragePooling3D(VolumePooling):
    """The mean of each channel in boxes of voxels.

    Input ``(batch, depth, height, width, channels)``, output likewise. Padding does not count.

    Parameters
    ----------
    pool_size : int or three int
        Depth, height and width of a box.
    strides : int or three int, optional
        Voxels from one box to the next; ``pool_size`` by default.
    padding : {"valid", "same"}
        Boxes inside the input only, or ``ceil(size / strides)`` of them.
    name : str, optional
        The layer's name.

    Raises
    ------
    ShapeError
        If the input has other axes, or is smaller than a box.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.AveragePooling3D((1, 2, 2))(gt.placeholder((2, 5, 8, 8, 4))).spec)
    float32[2, 5, 4, 4, 4]
    """

    def pooled(self, x: Tensor, **sliding) -> Tensor:
        return average_pool(x, **sliding)


class GlobalAveragePooling3D(GlobalMean):
    """The mean of each channel over all voxels.

    Input ``(batch, depth, height, width, channels)``, output ``(batch, channels)``.

    Parameters
    ----------
    keepdims : bool
        Whether the voxel axes stay, with length 1.
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
    >>> print(layers.GlobalAveragePooling3D()(gt.placeholder((2, 3, 8, 8, 4))).spec)
    float32[2, 4]
    """
    rank = 3


class GlobalMaxPooling3D(GlobalLargest):
    """The largest value of each channel over all voxels.

    Input ``(batch, depth, height, width, channels)``, output ``(batch, channels)``.

    Parameters
    ----------
    keepdims : bool
        Whether the voxel axes stay, with length 1.
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
    >>> print(layers.GlobalMaxPooling3D()(gt.placeholder((2, 3, 8, 8, 4))).spec)
    float32[2, 4]
    """
    rank = 3


# ---- moving entries about ----------------------------------------------------------------------

class SpatialDropout3D(Dropout):
    """Drops whole channels of a volume: all voxels of a channel or none.

    Tompson et al., "Efficient object localization using convolutional networks", 2015.

    Parameters
    ----------
    rate : float
        The fraction, in [0, 1).
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> x = gt.constant(np.ones((2, 3, 3, 3, 4), "float32"))
    >>> y = gt.run(layers.SpatialDropout3D(0.5)(x, training=True)[0])
    >>> bool((y[:, :1, :1, :1] == y).all())
    True
    """
    shared_axes = (1, 2, 3)


class ZeroPadding3D(ZeroPadding1D):
    """Zeros around a volume.

    Parameters
    ----------
    padding : int, three int, or three pairs of int
        How many on all sides, per axis, or (before, after) for each axis.
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.ZeroPadding3D((1, 0, (0, 2)))(gt.placeholder((5, 3, 4, 4, 2))).spec)
    float32[5, 5, 4, 6, 2]
    """
    rank = 3


class Cropping3D(Cropping1D):
    """A volume without its margins.

    Parameters
    ----------
    cropping : int, three int, or three pairs of int
        How many to leave out on all sides, per axis, or (before, after) for each axis.
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Cropping3D((0, 1, (0, 1)))(gt.placeholder((5, 3, 4, 4, 2))).spec)
    float32[5, 3, 2, 3, 2]
    """
    rank = 3


class UpSampling3D(UpSampling1D):
    """Every voxel several times along all axes: the nearest voxel's value.

    Parameters
    ----------
    size : int or three int
        How many times, along all axes or each.
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.UpSampling3D((1, 2, 2))(gt.placeholder((5, 3, 4, 4, 2))).spec)
    float32[5, 3, 8, 8, 2]
    """
    rank = 3
