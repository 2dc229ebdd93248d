"""Spec: what is known of a tensor before it is computed, and the shape rules ops share."""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .errors import DTypeError, ParameterError, ShapeError

DTYPES = ("bool", "uint8", "int32", "uint32", "int64", "float16", "float32", "float64")


class Spec(NamedTuple):
    """Shape and dtype of a tensor.

    Parameters
    ----------
    shape : tuple of int
        Axis lengths; ``()`` for one number.
    dtype : numpy.dtype
        One of `DTYPES`; `Spec.of` takes its name too and checks both.

    Examples
    --------
    >>> print(Spec.of((8, 4)))
    float32[8, 4]
    """
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, shape, dtype="float32") -> Spec:
        """A checked spec from anything that names a shape and a dtype."""
        try:
            known = None if dtype is None else np.dtype(dtype).newbyteorder("=")
        except TypeError:
            known = None
        if known is None or known.name not in DTYPES:
            raise DTypeError(f"{dtype} is not an element type of tensors",
                             fix=f"use one of {', '.join(DTYPES)}")
        sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
        if any(not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 0 for n in sizes):
            raise ShapeError(f"a shape is a tuple of whole numbers from 0 on, not {shape}")
        return cls(tuple(int(n) for n in sizes), known)

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        """Whether a gradient can flow through such a tensor."""
        return self.dtype.kind == "f"

    def like(self, *shape: int) -> Spec:
        """The same dtype with another shape."""
        return Spec(tuple(shape), self.dtype)


def converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The same numbers in another element type; whole numbers that do not fit in it raise."""
    if array.dtype == dtype:
        return array
    if array.dtype.kind in "iu" and dtype.kind in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        limits = np.iinfo(dtype)
        if low < limits.min or high > limits.max:
            raise DTypeError(f"{low if low < limits.min else high} is not a number of the type "
                             f"{dtype}", fix=f"{dtype} goes from {limits.min} to {limits.max}")
    return array.astype(dtype)


def one_dtype(*specs: Spec) -> np.dtype:
    """The dtype all inputs share; mixing raises, because silent promotion hides mistakes."""
    dtypes = {s.dtype for s in specs}
    if len(dtypes) > 1:
        names = " and ".join(dict.fromkeys(str(s.dtype) for s in specs))
        raise DTypeError(f"the element types differ, {names}", fix="convert one with gt.cast")
    return specs[0].dtype


def floating(*specs: Spec) -> None:
    """Require floating-point inputs."""
    for s in specs:
        if not s.is_float:
            raise DTypeError(f"needs floating-point numbers, not {s.dtype}",
                             fix='convert with gt.cast(x, dtype="float32")')


def integer(spec: Spec, what: str) -> None:
    """Require an integer input."""
    if spec.dtype.kind not in "iu":
        raise DTypeError(f"{what} must be integers, not {spec.dtype}",
                         fix='convert with gt.cast(x, dtype="int64")')


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcasting of shapes."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError("the shapes do not broadcast: " + " and ".join(
            str(list(s)) for s in shapes)) from None


def same(*specs: Spec, **_) -> Spec:
    """Elementwise: inputs of one dtype broadcast to the output."""
    return Spec(broadcast(*(s.shape for s in specs)), one_dtype(*specs))


def same_float(*specs: Spec, **_) -> Spec:
    """Elementwise on floating-point numbers."""
    floating(*specs)
    return same(*specs)


def truth(*specs: Spec, **_) -> Spec:
    """Elementwise comparison: inputs of one dtype, boolean output."""
    return Spec(same(*specs).shape, np.dtype(bool))


def axes_of(axis, ndim: int) -> tuple[int, ...]:
    """Sorted non-negative axes from None (all), an int or a tuple of ints."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    result = tuple(sorted(one_axis(a, ndim) for a in axes))
    if len(set(result)) != len(result):
        raise ShapeError(f"axis {axis} names one axis twice")
    return result


def one_axis(axis: int, ndim: int) -> int:
    """A non-negative axis."""
    if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool):
        raise ParameterError(f"an axis is a whole number, not {axis!r}")
    if not -ndim <= axis < ndim:
        raise ShapeError(f"axis {axis} is out of range for {ndim} dimension{'s' * (ndim != 1)}",
                         fix=f"use an axis from {-ndim} to {ndim - 1}" if ndim else None)
    return int(axis) % ndim
