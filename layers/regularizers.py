"""Regularizers: penalties on weights that are added to the loss."""
from __future__ import annotations

from abc import abstractmethod

from ..backend import Tensor
from ..backend.named import is_function, named
from .arguments import number
from .value import Value


class Regularizer(Value):
    """Called on a weight, gives its penalty, a 0-d tensor.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.L1L2(l1=1.0, l2=0.5)(gt.constant([3.0, -4.0])))
    array(19.5, dtype=float32)
    """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a weight of any shape."""


class L1L2(Regularizer):
    """``l1 * sum(|w|) + l2 * sum(w**2)``: Zou and Hastie's elastic net, 2005.

    Parameters
    ----------
    l1, l2 : float
        Factors from 0 on.

    Examples
    --------
    >>> from gradatim import layers
    >>> layers.L1L2(l1=0.1)
    L1L2(l1=0.1)
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = number("l1", l1, at_least=0.0), number("l2", l2, at_least=0.0)

    def __call__(self, x: Tensor) -> Tensor:
        if self.l1 == 0.0:
            return (x * x).sum() * self.l2
        absolute = abs(x).sum() * self.l1
        return absolute + (x * x).sum() * self.l2 if self.l2 else absolute


class L1(Regularizer):
    """``l1 * sum(|w|)``, which makes weights zero: Tibshirani's lasso, 1996.

    Parameters
    ----------
    l1 : float
        A factor from 0 on.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.L1(0.5)(gt.constant([3.0, -4.0])))
    array(3.5, dtype=float32)
    """

    def __init__(self, l1: float = 0.01):
        self.l1 = number("l1", l1, at_least=0.0)

    def __call__(self, x: Tensor) -> Tensor:
        return abs(x).sum() * self.l1


class L2(Regularizer):
    """``l2 * sum(w**2)``, without the half some books have: Hoerl and Kennard's ridge, 1970.

    Parameters
    ----------
    l2 : float
        A factor from 0 on.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> gt.run(layers.L2(0.5)(gt.constant([3.0, -4.0])))
    array(12.5, dtype=float32)
    """

    def __init__(self, l2: float = 0.01):
        self.l2 = number("l2", l2, at_least=0.0)

    def __call__(self, x: Tensor) -> Tensor:
        return (x * x).sum() * self.l2


REGULARIZERS: dict[str, type[Regularizer]] = {"l1": L1, "l2": L2, "l1_l2": L1L2}


def regularizer(name_or_object):
    """The regularizer of that name.

    Parameters
    ----------
    name_or_object : str, Regularizer, callable or None
        A name of `REGULARIZERS`, a regularizer, a function from tensor to 0-d tensor, or None.

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
    >>> layers.regularizer("l2")
    L2()
    """
    return None if name_or_object is None else named(
        "regularizer", name_or_object, REGULARIZERS, "a name or an object", is_function,
        fix='pass "l2", or layers.L2(0.001)')
