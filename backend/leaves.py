"""What users start a graph from: placeholders, which are fed, and variables, which keep a value."""
from __future__ import annotations

import numpy as np

from .context import current, user_line
from .spec import Spec
from .tensor import Node, Tensor, Variable, array_of, placeholder_op


def placeholder(shape, dtype="float32", name: str = "", batch: bool = True) -> Tensor:
    """A tensor to be fed.

    Parameters
    ----------
    shape : int or tuple of int
        Axis lengths; a graph is compiled for one shape.
    dtype : str or dtype
        Element type.
    name : str
        Printed in graphs and errors.
    batch : bool
        Whether the first axis counts samples; a strategy splits such tensors over replicas.

    Examples
    --------
    >>> import gradatim as gt
    >>> x = gt.placeholder((2, 3), name="x")
    >>> gt.run(x.sum(), {x: [[1, 2, 3], [4, 5, 6]]})
    array(21., dtype=float32)
    """
    spec = Spec.of(shape, dtype)
    settings = {"name": str(name), "shape": spec.shape, "dtype": spec.dtype.name,
                "batch": bool(batch and spec.shape)}
    device = current().device or ""
    return Node(placeholder_op, (), settings, (spec,), device, user_line()).outputs[0]


def variable(value, dtype=None, name: str = "variable", initializer=None,
             trainable: bool = True) -> Variable:
    """A tensor with a value that training changes.

    Parameters
    ----------
    value : int, tuple of int or array
        A tuple of ints is a shape, filled with zeros unless ``initializer`` is given; an array
        is the value and keeps its dtype; a float is a 0-d value.
    dtype : str or dtype, optional
        Element type; float32 for a shape.
    name : str
        The name in files; models rename their variables by their layers' paths.
    initializer : callable ``(spec, seed, stream) -> array``, optional
        Draws the first value.
    trainable : bool
        Whether an optimizer may change it.

    Examples
    --------
    >>> import gradatim as gt
    >>> w = gt.variable((2, 2), name="w")
    >>> step = gt.function([], w, updates={w: w + 1.0})
    >>> _ = step()
    >>> w.numpy()[0]
    array([1., 1.], dtype=float32)
    """
    whole = lambda n: isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    if isinstance(value, tuple) and all(map(whole, value)) or type(value) is int:
        spec = Spec.of(value, dtype or "float32")
        zeros = lambda spec, seed, stream: np.zeros(spec.shape, spec.dtype)
        return Variable(spec, initializer or zeros, name, trainable)
    value = array_of(value, dtype)
    value = value.copy()       # the caller may change the array
    result = Variable(Spec.of(value.shape, value.dtype), lambda spec, seed, stream: value, name,
                      trainable)
    result.assign(value)
    return result
