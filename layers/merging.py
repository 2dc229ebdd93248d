"""Layers of several inputs: concatenation, elementwise merging and dot products."""
from __future__ import annotations

import math
from abc import abstractmethod
from functools import reduce

from ..backend import Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.elementwise import maximum, minimum, rsqrt
from ..backend.ops.shape import concatenate, transpose
from .arguments import flag
from .base import Layer
from .flow import Flow, joined_updates
from .shaping import open_reshape


class Merge(Layer):
    """What layers of several inputs share: lengths are the first input's while time is kept."""
    keeps_time = True
    takes_several = True
    fewest, most = 2, math.inf

    def forward(self, flow: list[Flow], training: bool) -> Flow:
        if not self.fewest <= len(flow) <= self.most:
            count = "two inputs" if self.most == 2 else "at least two inputs"
            raise ShapeError(f"{self.label}: needs {count}, not {len(flow)}")
        first = flow[0]
        y = self.merge([f.x for f in flow])
        kept = self.keeps_time and y.shape[1:2] == first.x.shape[1:2] and y.ndim > 1
        return first.to(y, lengths=first.lengths if kept else None,
                        updates=joined_updates(*flow))

    @abstractmethod
    def merge(self, xs: list[Tensor]) -> Tensor:
        """The formula on tensors ``(batch, ...)``."""


class Concatenate(Merge):
    """Inputs one behind another along an axis.

    Parameters
    ----------
    axis : int
        The axis; not the batch axis, 0.

    Raises
    ------
    ShapeError
        If the shapes differ beside that axis.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x, y = gt.placeholder((5, 3)), gt.placeholder((5, 4))
    >>> print(layers.Concatenate()([x, y]).spec)
    float32[5, 7]
    """

    def __init__(self, axis: int = -1, name: str | None = None):
        super().__init__(name)
        if not isinstance(axis, int) or isinstance(axis, bool) or axis == 0:
            raise ParameterError(f"axis must be a whole number and not 0, the batch axis, "
                                 f"not {axis!r}")
        self.axis = axis

    def merge(self, xs: list[Tensor]) -> Tensor:
        ndim = xs[0].ndim
        if self.axis % ndim == 0:
            raise ShapeError(f"{self.label}: axis {self.axis} of {ndim} is the batch axis")
        return concatenate(*xs, axis=self.axis)


class Elementwise(Merge):
    """What merging entry by entry shares: shapes broadcast."""
    combine = None

    def merge(self, xs: list[Tensor]) -> Tensor:
        return reduce(type(self).combine, xs)


class Add(Elementwise):
    """The sum of the inputs, entry by entry.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Add()([gt.constant([[1.0, 2.0]]), gt.constant([[3.0, 5.0]])]))
    array([[4., 7.]], dtype=float32)
    """
    combine = staticmethod(lambda x, y: x + y)


class Subtract(Elementwise):
    """The first input minus the second.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Subtract()([gt.constant([[1.0, 2.0]]), gt.constant([[3.0, 5.0]])]))
    array([[-2., -3.]], dtype=float32)
    """
    most = 2
    combine = staticmethod(lambda x, y: x - y)


class Multiply(Elementwise):
    """The product of the inputs, entry by entry.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Multiply()([gt.constant([[1.0, 2.0]]), gt.constant([[3.0, 5.0]])]))
    array([[ 3., 10.]], dtype=float32)
    """
    combine = staticmethod(lambda x, y: x * y)


class Average(Elementwise):
    """The mean of the inputs, entry by entry.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Average()([gt.constant([[1.0, 2.0]]), gt.constant([[3.0, 5.0]])]))
    array([[2. , 3.5]], dtype=float32)
    """
    combine = staticmethod(lambda x, y: x + y)

    def merge(self, xs: list[Tensor]) -> Tensor:
        return super().merge(xs) * (1.0 / len(xs))


class Maximum(Elementwise):
    """The largest input, entry by entry.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Maximum()([gt.constant([[1.0, 9.0]]), gt.constant([[3.0, 5.0]])]))
    array([[3., 9.]], dtype=float32)
    """
    combine = staticmethod(lambda x, y: maximum(x, y))


class Minimum(Elementwise):
    """The smallest input, entry by entry.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Minimum()([gt.constant([[1.0, 9.0]]), gt.constant([[3.0, 5.0]])]))
    array([[1., 5.]], dtype=float32)
    """
    combine = staticmethod(lambda x, y: minimum(x, y))


class Dot(Merge):
    """Products of two inputs, summed along one axis of each: per sample, ``tensordot``.

    Parameters
    ----------
    axes : int or (int, int)
        The axis of both, or of the first and the second; not the batch axis, 0.
    normalize : bool
        Whether vectors along these axes are scaled to length one first: cosine similarity.

    Examples
    --------
    The result has the first input's other axes, then the second's, and at least one.

    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> x, y = gt.placeholder((5, 3, 4)), gt.placeholder((5, 6, 4))
    >>> print(layers.Dot(axes=2)([x, y]).spec)
    float32[5, 3, 6]
    """
    keeps_time = False
    most = 2

    def __init__(self, axes, normalize: bool = False, name: str | None = None):
        super().__init__(name)
        self.axes, self.normalize = axes, flag("normalize", normalize)
        self.pair = tuple(axes) if isinstance(axes, (tuple, list)) else (axes, axes)
        if len(self.pair) != 2 or any(not isinstance(a, int) or isinstance(a, bool) or a == 0
                                      for a in self.pair):
            raise ParameterError("axes must be one or two whole numbers and not 0, the batch "
                                 f"axis, not {axes!r}")

    def merge(self, xs: list[Tensor]) -> Tensor:
        (left, rest), (right, others) = (self.matrix(x, axis) for x, axis in zip(xs, self.pair))
        if left.shape[-1] != right.shape[-1]:
            raise ShapeError(f"{self.label}: the axes {self.axes} have the lengths "
                             f"{left.shape[-1]} and {right.shape[-1]}",
                             got="  ".join(str(x.spec) for x in xs))
        product = left @ transpose(right, axes=(0, 2, 1))            # (batch, rest, others)
        return open_reshape(product, *(rest + others or (1,)))

    def matrix(self, x: Tensor, axis: int) -> tuple[Tensor, tuple[int, ...]]:
        """(batch, rest, axis), and the shape of the rest."""
        if not -x.ndim < axis < x.ndim:
            raise ShapeError(f"{self.label}: there is no axis {axis} beside the batch axis",
                             got=str(x.spec))
        axis %= x.ndim
        order = [i for i in range(1, x.ndim) if i != axis]
        rest = tuple(x.shape[i] for i in order)
        moved = x if axis == x.ndim - 1 else transpose(x, axes=(0, *order, axis))
        moved = open_reshape(moved, math.prod(rest), x.shape[axis])
        if self.normalize:
            squares = (moved * moved).sum(axis=-1, keepdims=True)
            moved = moved * rsqrt(maximum(squares, 1e-12))
        return moved, rest
