"""Constraints: what a weight is put back to after every step of an optimizer."""
from __future__ import annotations

from abc import abstractmethod

from ..backend import Tensor
from ..backend.errors import ParameterError
from ..backend.named import is_function, named
from ..backend.ops.activations import relu
from ..backend.ops.elementwise import clip, sqrt
from .arguments import number
from .value import Value

EPSILON = 1e-7      # Keras's; keeps vectors of zeros finite


class Constraint(Value):
    """Called on a weight's new value, gives the value that the weight gets.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.NonNeg()(gt.constant([3.0, -4.0])))
    array([3., 0.], dtype=float32)
    """

    @abstractmethod
    def __call__(self, w: Tensor) -> Tensor:
        """The nearest value that is allowed."""


class NonNeg(Constraint):
    """Numbers below zero become zero.

    Examples
    --------
    >>> from gradatim import layers
    >>> layers.Dense(3, kernel_constraint=layers.NonNeg())
    Dense(units=3, kernel_constraint=NonNeg())
    """

    def __call__(self, w: Tensor) -> Tensor:
        return relu(w)


class Norm(Constraint):
    """What constraints of vectors' lengths share.

    Parameters
    ----------
    axis : int or tuple of int
        The axes of a vector: 0 has one for each unit of `Dense`, (0, 1, 2) one for each filter of
        `Conv2D`.
    """

    def __init__(self, axis=0):
        axes = axis if isinstance(axis, (tuple, list)) else (axis,)
        if not axes or not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
            raise ParameterError(f"axis must be a whole number or several, not {axis!r}")
        self.axis = axis

    def lengths(self, w: Tensor) -> Tensor:
        """Of every vector, axes kept."""
        axes = self.axis if isinstance(self.axis, (tuple, list)) else (self.axis,)
        return sqrt((w * w).sum(axis=tuple(axes), keepdims=True))


class MaxNorm(Norm):
    """Vectors longer than a length are shortened to it: Srivastava et al., "Dropout", 2014.

    Parameters
    ----------
    max_value : float
        The length, from 0 on.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.MaxNorm(max_value=1.0)(gt.constant([[3.0, 0.5], [4.0, 0.0]]))).round(3)
    array([[0.6, 0.5],
           [0.8, 0. ]], dtype=float32)
    """

    def __init__(self, max_value: float = 2.0, axis=0):
        super().__init__(axis)
        self.max_value = number("max_value", max_value, at_least=0.0)

    def __call__(self, w: Tensor) -> Tensor:
        lengths = self.lengths(w)
        return w * (clip(lengths, low=0.0, high=self.max_value) / (lengths + EPSILON))


class UnitNorm(Norm):
    """All vectors get the length one.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.UnitNorm()(gt.constant([[3.0], [4.0]]))).round(3)
    array([[0.6],
           [0.8]], dtype=float32)
    """

    def __call__(self, w: Tensor) -> Tensor:
        return w / (self.lengths(w) + EPSILON)


class MinMaxNorm(Norm):
    """Vectors get lengths between two.

    Parameters
    ----------
    min_value, max_value : float
        The lengths, from 0 on.
    rate : float
        How much of the way is gone in a step, in [0, 1].

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.MinMaxNorm(1.0, 2.0)(gt.constant([[0.3], [0.4]]))).round(3)
    array([[0.6],
           [0.8]], dtype=float32)
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis=0):
        super().__init__(axis)
        self.min_value = number("min_value", min_value, at_least=0.0)
        self.max_value = number("max_value", max_value, at_least=self.min_value)
        self.rate = number("rate", rate, at_least=0.0)
        if self.rate > 1:
            raise ParameterError(f"rate must be in [0, 1], not {rate!r}")

    def __call__(self, w: Tensor) -> Tensor:
        lengths = self.lengths(w)
        wanted = clip(lengths, low=self.min_value, high=self.max_value) * self.rate + \
            lengths * (1.0 - self.rate)
        return w * (wanted / (lengths + EPSILON))


CONSTRAINTS: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm, "non_neg": NonNeg, "unit_norm": UnitNorm, "min_max_norm": MinMaxNorm}


def constraint(name_or_object):
    """The constraint of that name.

    Parameters
    ----------
    name_or_object : str, Constraint, callable or None
        A name of `CONSTRAINTS`, a constraint, a function from tensor to tensor, or None.

    Returns
    -------
    callable or None

    Raises
    ------
    UnknownNameError
        If there is no such name.
    ParameterError
        If it is neither a name nor callable.

    Examples
    --------
    >>> from gradatim import layers
    >>> layers.constraint("max_norm")
    MaxNorm()
    """
    return None if name_or_object is None else named(
        "constraint", name_or_object, CONSTRAINTS, "a name or an object", is_function,
        fix='pass "max_norm", or layers.MaxNorm(3.0)')
