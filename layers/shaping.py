"""Layers that move entries about: reshaping, repeating, padding and cropping."""
from __future__ import annotations

import math

import numpy as np

from ..backend import Spec, Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.shape import expand_dims, pad, reshape, tile, transpose
from .arguments import positive_int, sizes
from .base import Layer


class Flatten(Layer):
    """All axes but the batch axis become one.

    Parameters
    ----------
    name : str, optional
        The layer's name.

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
    name : str, optional
        The layer's name.

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
    name : str, optional
        The layer's name.

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
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.RepeatVector(3)(gt.placeholder((5, 4))).spec)
    float32[5, 3, 4]
    """

    def __init__(self, n: int, name: str | None = None):
        super().__init__(name)
        self.n = positive_int("n", n)

    def call(self, x: Tensor) -> Tensor:
        need_axes(self, x, 2)
        return tile(expand_dims(x, axis=1), repeats=(1, self.n, 1))


# ---- along spatial axes ------------ -------------------------------------------------------------

class ZeroPadding1D(Layer):
    """Zeros before and after the steps of a sequence.

    Parameters
    ----------
    padding : int or (int, int)
        How many on both sides, or (before, after).
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.ZeroPadding1D((1, 2))(gt.placeholder((5, 4, 3))).spec)
    float32[5, 7, 3]
    """
    rank = 1

    def __init__(self, padding=1, name: str | None = None):
        super().__init__(name)
        self.padding = padding
        self.pairs = margins("padding", padding, self.rank)

    def call(self, x: Tensor) -> Tensor:
        need_axes(self, x, self.rank + 2)
        return pad(x, widths=((0, 0), *self.pairs, (0, 0)))


class ZeroPadding2D(ZeroPadding1D):
    """Zeros around an image.

    Parameters
    ----------
    padding : int, (int, int) or ((int, int), (int, int))
        How many on all sides, per axis, or ((top, bottom), (left, right)).
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.ZeroPadding2D(((0, 1), 2))(gt.placeholder((5, 4, 4, 3))).spec)
    float32[5, 5, 8, 3]
    """
    rank = 2


class Cropping1D(Layer):
    """A sequence without its first and last steps.

    Parameters
    ----------
    cropping : int or (int, int)
        How many to leave out on both sides, or (before, after).
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Cropping1D((1, 0))(gt.placeholder((5, 4, 3))).spec)
    float32[5, 3, 3]
    """
    rank = 1

    def __init__(self, cropping=1, name: str | None = None):
        super().__init__(name)
        self.cropping = cropping
        self.pairs = margins("cropping", cropping, self.rank)

    def call(self, x: Tensor) -> Tensor:
        need_axes(self, x, self.rank + 2)
        lengths = x.shape[1:-1]
        if any(low + high >= n for n, (low, high) in zip(lengths, self.pairs)):
            raise ShapeError(f"{self.label}: nothing would be left of {list(lengths)}",
                             got=f"cropping {self.pairs}")
        return x[(slice(None), *(slice(low, n - high)
                                 for n, (low, high) in zip(lengths, self.pairs)))]


class Cropping2D(Cropping1D):
    """An image without its margins.

    Parameters
    ----------
    cropping : int, (int, int) or ((int, int), (int, int))
        How many to leave out on all sides, per axis, or ((top, bottom), (left, right)).
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.Cropping2D((1, 0))(gt.placeholder((5, 4, 4, 3))).spec)
    float32[5, 2, 4, 3]
    """
    rank = 2


class UpSampling1D(Layer):
    """Every step several times.

    Parameters
    ----------
    size : int
        How many times.
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.UpSampling1D(2)(gt.placeholder((5, 4, 3))).spec)
    float32[5, 8, 3]
    """
    rank = 1

    def __init__(self, size=2, name: str | None = None):
        super().__init__(name)
        self.size = size
        self.factors = sizes("size", size, self.rank)

    def call(self, x: Tensor) -> Tensor:
        need_axes(self, x, self.rank + 2)
        *lengths, channels = x.shape[1:]
        split = [part for n in lengths for part in (n, 1)]           # (batch, h, 1, w, 1, channels)
        repeats = [part for f in self.factors for part in (1, f)]
        x = tile(open_reshape(x, *split, channels), repeats=(1, *repeats, 1))
        return open_reshape(x, *(n * f for n, f in zip(lengths, self.factors)), channels)


class UpSampling2D(UpSampling1D):
    """Every pixel several times along both axes: the nearest pixel's value.

    Parameters
    ----------
    size : int or (int, int)
        How many times, along both axes or (vertically, horizontally).
    name : str, optional
        The layer's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> print(layers.UpSampling2D((2, 3))(gt.placeholder((5, 4, 4, 3))).spec)
    float32[5, 8, 12, 3]
    """
    rank = 2


def open_reshape(x: Tensor, *shape: int) -> Tensor:
    """Each sample in another shape, the batch axis left open."""
    return reshape(x, shape=(-1, *shape))


def need_axes(layer: Layer, x: Tensor, ndim: int) -> None:
    """Require a number of axes."""
    if x.ndim != ndim:
        axes = {2: "(batch, features)", 3: "(batch, time, features)",
                4: "(batch, height, width, channels)",
                5: "(batch, depth, height, width, channels)"}[ndim]
        raise ShapeError(f"{layer.label}: needs {axes}", got=str(x.spec))


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
