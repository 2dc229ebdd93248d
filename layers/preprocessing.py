"""Layers that make numbers fit for a net: rescaling, binning, encoding of categories, masking."""
from __future__ import annotations

import numpy as np

from ..backend import Spec, Tensor
from ..backend.errors import ParameterError, ShapeError
from ..backend.ops.elementwise import cast, equal, greater_equal, not_equal
from ..backend.ops.indexing import one_hot
from ..backend.ops.reductions import max_, sum_
from ..backend.ops.shape import expand_dims, squeeze
from .arguments import number, one_of, positive_int
from .base import Layer
from .embedding import need_integers
from .flow import Flow


def plain_numbers(name: str, value) -> float | tuple[float, ...]:
    """A finite number or several."""
    if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1:
        return tuple(number(name, v) for v in value)
    return number(name, value)


class Rescaling(Layer):
    """``x * scale + offset``; whole numbers, such as those of pixels, become real ones.

    Parameters
    ----------
    scale, offset : float or sequence of float
        One for all, or one for each entry of the last axis.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> pixels = gt.constant(np.array([[0, 255]], "uint8"))
    >>> gt.run(layers.Rescaling(scale=2 / 255, offset=-1)(pixels))
    array([[-1.,  1.]], dtype=float32)
    """
    keeps_time = any_rank = True

    def __init__(self, scale, offset=0.0, name: str | None = None):
        super().__init__(name)
        self.scale, self.offset = plain_numbers("scale", scale), plain_numbers("offset", offset)

    def forward(self, flow: Flow, training: bool) -> Flow:
        x = flow.x if flow.x.spec.is_float else cast(flow.x, dtype=flow.dtype)
        factors = [np.asarray(v, x.dtype) for v in (self.scale, self.offset)]
        for name, factor in zip(("scale", "offset"), factors):
            if factor.ndim and factor.shape != x.shape[-1:]:
                raise ShapeError(f"{self.label}: {name} holds {factor.size} numbers",
                                 got=f"{x.shape[-1]} entries in the last axis")
        return flow.to(x * factors[0] + factors[1])


# ---- categories ----------------------------------------------------------------------------------

MODES = ("int", "one_hot", "multi_hot", "count")


def encoded(ids: Tensor, depth: int, mode: str, dtype: str) -> Tensor:
    """Category numbers as they are, as a row for each, or as one row for a sample's numbers."""
    if mode == "int":
        return ids
    if mode == "one_hot":
        return one_hot(squeeze(ids, axis=-1) if ids.ndim > 1 and ids.shape[-1] == 1 else ids,
                       depth=depth, dtype=dtype)
    rows = one_hot(ids, depth=depth, dtype=dtype)                     # (batch, ..., n, depth)
    return (max_ if mode == "multi_hot" else sum_)(rows, axis=-2)


class Discretization(Layer):
    """The number of the interval that each value falls into, or a row for it.

    Parameters
    ----------
    bin_boundaries : sequence of float
        Rising; n of them make n + 1 intervals, each with its lower boundary.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Interval numbers as int64; a row of zeros and a one for each value (the last axis, where
        it has length 1, is left out); a row per sample with a one for every interval that occurs
        in it; or with how often it occurs.

    Raises
    ------
    ParameterError
        If the boundaries do not rise.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.Discretization([0.0, 1.0])(gt.constant([[-1.5, 1.0, 3.4, 0.5]])))
    array([[0, 2, 2, 1]])
    """
    any_rank = True

    def __init__(self, bin_boundaries, output_mode: str = "int", name: str | None = None):
        super().__init__(name)
        bounds = plain_numbers("bin_boundaries", bin_boundaries)
        self.bin_boundaries = bounds if isinstance(bounds, tuple) else (bounds,)
        if list(self.bin_boundaries) != sorted(set(self.bin_boundaries)):
            raise ParameterError(f"bin_boundaries must rise, not {bin_boundaries!r}")
        self.output_mode = one_of("output_mode", output_mode, MODES)

    @property
    def keeps_time(self) -> bool:
        """Where each step has rows or numbers of its own."""
        return self.output_mode in ("int", "one_hot")

    def forward(self, flow: Flow, training: bool) -> Flow:
        x = flow.x if flow.x.spec.is_float else cast(flow.x, dtype=flow.dtype)
        bounds = np.asarray(self.bin_boundaries, x.dtype)
        above = cast(greater_equal(expand_dims(x, axis=-1), bounds), dtype=x.dtype.name)
        number_of = cast(sum_(above, axis=-1), dtype="int64")          # (batch, ..., n)
        y = encoded(number_of, len(bounds) + 1, self.output_mode, x.dtype.name)
        kept = self.keeps_time and y.shape[1:2] == x.shape[1:2] and y.ndim > 1 + (
            self.output_mode != "int" and x.ndim < 3)
        return flow.to(y, lengths=flow.lengths if kept else None)


class CategoryEncoding(Layer):
    """Category numbers as rows of zeros and ones, or of counts.

    Parameters
    ----------
    num_tokens : int
        How many categories there are; numbers are from 0 to one less, others leave no trace.
    output_mode : {"multi_hot", "one_hot", "count"}
        A row per sample with a one for every category in it; a row for each number (the last
        axis, where it has length 1, is left out); or a row per sample with counts.

    Raises
    ------
    DTypeError
        If the input holds no integers.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> ids = gt.constant([[0, 2], [1, 1]])
    >>> gt.run(layers.CategoryEncoding(num_tokens=3, output_mode="count")(ids))
    array([[1., 0., 1.],
           [0., 2., 0.]], dtype=float32)
    """
    takes_integers = any_rank = True

    def __init__(self, num_tokens: int, output_mode: str = "multi_hot", name: str | None = None):
        super().__init__(name)
        self.num_tokens = positive_int("num_tokens", num_tokens)
        self.output_mode = one_of("output_mode", output_mode, MODES[1:])

    @property
    def keeps_time(self) -> bool:
        """Where each step has a row of its own."""
        return self.output_mode == "one_hot"

    def check(self, spec: Spec) -> None:
        need_integers(self, spec)

    def forward(self, flow: Flow, training: bool) -> Flow:
        y = encoded(flow.x, self.num_tokens, self.output_mode, flow.dtype)
        kept = self.keeps_time and y.ndim > 2
        return flow.to(y, lengths=flow.lengths if kept else None)


class IntegerLookup(Layer):
    """The place of each whole number in a vocabulary, or a row for it.

    Parameters
    ----------
    vocabulary : sequence of int
        The numbers that are known, each once: the first is 1, the second 2; 0 is any other.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Places as int64, or rows as those of `CategoryEncoding`, of one entry more than there are
        known numbers.

    Raises
    ------
    DTypeError
        If the input holds no integers.
    ParameterError
        If the vocabulary holds other things, or one twice.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> codes = gt.constant([[404, 200, 503, 200]])
    >>> gt.run(layers.IntegerLookup([200, 404])(codes))
    array([[2, 1, 0, 1]])
    """
    takes_integers = any_rank = True

    def __init__(self, vocabulary, output_mode: str = "int", name: str | None = None):
        super().__init__(name)
        self.vocabulary = tuple(n.item() if isinstance(n, np.generic) else n for n in vocabulary)
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in self.vocabulary)
        if not self.vocabulary or not whole or len(set(self.vocabulary)) < len(self.vocabulary):
            raise ParameterError("vocabulary must hold whole numbers, each once, not "
                                 f"{vocabulary!r}")
        self.output_mode = one_of("output_mode", output_mode, MODES)

    @property
    def keeps_time(self) -> bool:
        """Where each step has a number or a row of its own."""
        return self.output_mode in ("int", "one_hot")

    def check(self, spec: Spec) -> None:
        need_integers(self, spec)

    def forward(self, flow: Flow, training: bool) -> Flow:
        same = equal(expand_dims(flow.x, axis=-1), np.array(self.vocabulary, flow.x.dtype))
        places = np.arange(1.0, len(self.vocabulary) + 1.0)
        found = cast(sum_(cast(same, dtype="float64") * places, axis=-1), dtype="int64")
        y = encoded(found, len(self.vocabulary) + 1, self.output_mode, flow.dtype)
        kept = self.keeps_time and y.ndim > 1 + (self.output_mode != "int")
        return flow.to(y, lengths=flow.lengths if kept else None)


# ---- padding -------------------------------------------------------------------------------------

class Masking(Layer):
    """Finds where sequences end: the steps behind the last that is not all ``mask_value``.

    What follows takes the length of each row into account: recurrent layers, pooling over time,
    attention, losses and metrics. Lengths given from outside go before.

    Parameters
    ----------
    mask_value : float
        What padding is made of.

    Raises
    ------
    ShapeError
        If the input is not (batch, time, features).

    Examples
    --------
    A step of zeros that is followed by others is a step like these.

    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> from gradatim.layers import Flow
    >>> x = gt.constant(np.array([[[1.0], [0.0], [2.0], [0.0]], [[3.0], [0.0], [0.0], [0.0]]]))
    >>> gt.run(layers.Masking()(Flow(x)).lengths)
    array([3, 1])
    """
    keeps_time = any_rank = True

    def __init__(self, mask_value: float = 0.0, name: str | None = None):
        super().__init__(name)
        self.mask_value = number("mask_value", mask_value)

    def forward(self, flow: Flow, training: bool) -> Flow:
        x = flow.x
        if x.ndim < 3:
            raise ShapeError(f"{self.label}: needs (batch, time, features)", got=str(x.spec))
        if flow.lengths is not None:
            return flow.to(x)
        further = tuple(range(2, x.ndim))
        real = max_(cast(not_equal(x, self.mask_value), dtype="float64"), axis=further)
        last = max_(real * np.arange(1.0, x.shape[1] + 1.0), axis=1)           # (batch,)
        return flow.to(x, lengths=cast(last, dtype="int64"))
