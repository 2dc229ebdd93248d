"""Layers that move entries about: reshaping, repeating, padding and cropping."""
from __future__ import annotations

import math

import numpy as np

from ..backend import Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.shape import expand_dims, pad, reshape, tile, transpose
from .arguments import positive_int, sizes
from .base import Layer
from .spatial import Spatial


class Flatten(Layer):
    """All axes but the batch axis become one.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Flatten()(gt.placeholder((2, 3, 4))).spec)
    float32[2, 12]
    """

    def call(self, x: Tensor) -> Tensor:
        return x if x.ndim == 2 else open_reshape(x, math.prod(x.shape[1:]))


class Reshape(Layer):
    """The entries of each sample in another shape.

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch axis; one -1 is inferred.

    Raises
    ------
    ShapeError
        If the number of entries differs.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Reshape((2, -1))(gt.placeholder((5, 8))).spec)
    float32[5, 2, 4]
    """

    def __init__(self, target_shape, name: str | None = None):
        super().__init__(name)
        self.target_shape = target_shape
        self.target = tuple(target_shape) if isinstance(target_shape, (tuple, list)) \
            else (target_shape,)
        whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= -1
                    for n in self.target)
        if not whole or self.target.count(-1) > 1:
            raise ParameterError("target_shape must hold whole numbers from 0 on and at most one "
                                 f"-1, not {target_shape!r}")

    def call(self, x: Tensor) -> Tensor:
        size, known = math.prod(x.shape[1:]), math.prod(n for n in self.target if n != -1)
        fits = known and size % known == 0 if -1 in self.target else size == known
        if not fits:
            raise ShapeError(f"{self.label}: {size} entries do not fill the shape "
                             f"{list(self.target)}", got=f"{list(x.shape[1:])} (without batch)")
        return open_reshape(x, *(size // known if n == -1 else n for n in self.target))


class Permute(Layer):
    """The axes of each sample in another order.

    Parameters
    ----------
    dims : tuple of int
        Axes counted from 1: ``(2, 1)`` exchanges the first two.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Permute((2, 1))(gt.placeholder((5, 3, 4))).spec)
    float32[5, 4, 3]
    """

    def __init__(self, dims, name: str | None = None):
        super().__init__(name)
        self.dims = dims
        if not isinstance(dims, (tuple, list)) or set(dims) != set(range(1, len(dims) + 1)):
            raise ParameterError(f"dims must hold each of 1, 2, ... once, not {dims!r}")

    def call(self, x: Tensor) -> Tensor:
        if x.ndim != len(self.dims) + 1:
            raise ShapeError(f"{self.label}: the input has {x.ndim - 1} axes, not "
                             f"{len(self.dims)} (without batch)")
        return transpose(x, axes=(0, *self.dims))


class RepeatVector(Layer):
    """Each sample's vector n times, along a new time axis.

    Parameters
    ----------
    n : int
        How many times.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.RepeatVector(3)(gt.placeholder((5, 4))).spec)
    float32[5, 3, 4]
    """

    input_axes = "(batch, features)"

    def __init__(self, n: int, name: str | None = None):
        super().__init__(name)
        self.n = positive_int("n", n)

    def call(self, x: Tensor) -> Tensor:
        return tile(expand_dims(x, axis=1), repeats=(1, self.n, 1))


# ---- along spatial axes --------------------------------------------------------------------------

class ZeroPadding(Spatial):
    """Zeros at the ends of spatial axes.

    Parameters
    ----------
    padding : int, or for each spatial axis an int or (before, after)
        How many on both sides; over one axis a pair is (before, after).
    """

    def __init__(self, padding=1, name: str | None = None):
        super().__init__(name)
        self.padding = padding
        self.pairs = margins("padding", padding, self.rank)

    def call(self, x: Tensor) -> Tensor:
        return pad(x, widths=((0, 0), *self.pairs, (0, 0)))


class ZeroPadding1D(ZeroPadding):
    """Zeros before and after the steps of a sequence.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.ZeroPadding1D((1, 2))(gt.placeholder((5, 4, 3))).spec)
    float32[5, 7, 3]
    """
    rank = 1


class ZeroPadding2D(ZeroPadding):
    """Zeros around an image.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.ZeroPadding2D(((0, 1), 2))(gt.placeholder((5, 4, 4, 3))).spec)
    float32[5, 5, 8, 3]
    """
    rank = 2


class ZeroPadding3D(ZeroPadding):
    """Zeros around a volume.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.ZeroPadding3D((1, 0, (0, 2)))(gt.placeholder((5, 3, 4, 4, 2))).spec)
    float32[5, 5, 4, 6, 2]
    """
    rank = 3


class Cropping(Spatial):
    """Spatial axes without their ends.

    Parameters
    ----------
    cropping : int, or for each spatial axis an int or (before, after)
        How many to leave out on both sides; over one axis a pair is (before, after).

    Raises
    ------
    ShapeError
        If nothing would be left.
    """

    def __init__(self, cropping=1, name: str | None = None):
        super().__init__(name)
        self.cropping = cropping
        self.pairs = margins("cropping", cropping, self.rank)

    def call(self, x: Tensor) -> Tensor:
        lengths = x.shape[1:-1]
        if any(low + high >= n for n, (low, high) in zip(lengths, self.pairs)):
            raise ShapeError(f"{self.label}: nothing would be left of {list(lengths)}",
                             got=f"cropping {self.pairs}")
        return x[(slice(None), *(slice(low, n - high)
                                 for n, (low, high) in zip(lengths, self.pairs)))]


class Cropping1D(Cropping):
    """A sequence without its first and last steps.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Cropping1D((1, 0))(gt.placeholder((5, 4, 3))).spec)
    float32[5, 3, 3]
    """
    rank = 1


class Cropping2D(Cropping):
    """An image without its margins.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Cropping2D((1, 0))(gt.placeholder((5, 4, 4, 3))).spec)
    float32[5, 2, 4, 3]
    """
    rank = 2


class Cropping3D(Cropping):
    """A volume without its margins.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Cropping3D((0, 1, (0, 1)))(gt.placeholder((5, 3, 4, 4, 2))).spec)
    float32[5, 3, 2, 3, 2]
    """
    rank = 3


class UpSampling(Spatial):
    """Every entry several times along spatial axes.

    Parameters
    ----------
    size : int or one int per spatial axis
        How many times.
    """

    def __init__(self, size=2, name: str | None = None):
        super().__init__(name)
        self.size = size
        self.factors = sizes("size", size, self.rank)

    def call(self, x: Tensor) -> Tensor:
        *lengths, channels = x.shape[1:]
        split = [part for n in lengths for part in (n, 1)]           # (batch, h, 1, w, 1, channels)
        repeats = [part for f in self.factors for part in (1, f)]
        x = tile(open_reshape(x, *split, channels), repeats=(1, *repeats, 1))
        return open_reshape(x, *(n * f for n, f in zip(lengths, self.factors)), channels)


class UpSampling1D(UpSampling):
    """Every step several times.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.UpSampling1D(2)(gt.placeholder((5, 4, 3))).spec)
    float32[5, 8, 3]
    """
    rank = 1


class UpSampling2D(UpSampling):
    """Every pixel several times along both axes: the nearest pixel's value.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.UpSampling2D((2, 3))(gt.placeholder((5, 4, 4, 3))).spec)
    float32[5, 8, 12, 3]
    """
    rank = 2


class UpSampling3D(UpSampling):
    """Every voxel several times along all axes: the nearest voxel's value.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.UpSampling3D((1, 2, 2))(gt.placeholder((5, 3, 4, 4, 2))).spec)
    float32[5, 3, 8, 8, 2]
    """
    rank = 3


def open_reshape(x: Tensor, *shape: int) -> Tensor:
    """Each sample in another shape, the batch axis left open."""
    return reshape(x, shape=(-1, *shape))


WRITTEN = {1: " or a pair", 2: ", a pair, or a pair of pairs", 3: ", three, or three pairs"}


def margins(name: str, value, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) for each spatial axis."""
    values = value if isinstance(value, (tuple, list)) and (rank > 1 or len(value) == 1) \
        else (value,) * rank
    pairs = tuple(tuple(v) if isinstance(v, (tuple, list)) else (v, v) for v in values)
    if len(pairs) != rank or any(
            len(pair) != 2 or any(not isinstance(n, (int, np.integer)) or isinstance(n, bool)
                                  or n < 0 for n in pair) for pair in pairs):
        raise ParameterError(f"{name} must be a whole number from 0 on"
                             f"{WRITTEN[rank]}, "
                             f"not {value!r}")
    return pairs
