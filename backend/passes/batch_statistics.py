"""Batch statistics: the variance in one pass over the data, and a sum that is zero left out."""
from __future__ import annotations

import math

from ..graph import Graph
from ..op import OPS
from ..spec import axes_of
from ..tensor import Tensor, constant_op
from .patterns import Equation, Equations


def _by_channel(x: Tensor, mean: Tensor, axes) -> bool:
    """Whether the mean has one number per channel and the axes are all the others."""
    return mean.shape == x.shape[-1:] and axes_of(axes, x.ndim) == tuple(range(x.ndim - 1))


def _filled(t: Tensor) -> float | None:
    """The number that a constant, a broadcast or a product of such is full of."""
    if t.node.op is constant_op:
        value = t.node.settings["value"]
        return float(value.flat[0]) if value.size and (value == value.flat[0]).all() else None
    if t.node.op is OPS["broadcast_to"]:
        return _filled(t.node.inputs[0])
    if t.node.op is OPS["multiply"]:
        factors = [_filled(factor) for factor in t.node.inputs]
        return None if None in factors else math.prod(factors)
    return None


def _is_mean(names: dict) -> bool:
    """Whether ``m`` is the weighted mean of x: each sample counts once for each of its rows."""
    x, w, m = names["x"], names["w"], names["m"]
    return _by_channel(x, m, names["a"]) and _by_channel(x, m, names["b"]) and \
        w.shape == x.shape[:1] and _filled(names["rows"]) == math.prod(x.shape[1:-1]) and \
        names["g"].shape == (1,) * (x.ndim - 1) + m.shape and \
        names["u"].shape == (x.shape[0],) + (1,) * (x.ndim - 1)


# The last is a part of the variance's gradient by the mean: the sum of w (x - mean), which the
# mean makes zero. Without it nothing of the size of x has to be written before the last step.
STATISTICS = Equations([
    Equation("batch_sum(square(x - m), w, axes=a, keepdims=False)", "batch_squares(x, m, w)",
             when=lambda names: _by_channel(names["x"], names["m"], names["a"])),
    Equation("batch_sum(square(x - m), axes=a, keepdims=False)", "batch_squares(x, m)",
             when=lambda names: _by_channel(names["x"], names["m"], names["a"])),
    *(Equation(f"sum(-({slope} * 2 * (x - (m := batch_sum(x, w, axes=b, keepdims=False) * "
               "(1 / maximum(batch_sum(rows, w, axes=(0,)), least))))), axis=a, keepdims=False)",
               "zeros_like(m)", when=_is_mean)
      for slope in ("broadcast_to(g * (u := expand_dims(w)))", "(g * (u := expand_dims(w)))")),
])


def batch_statistics(graph: Graph) -> Graph:
    """The graph in which batch normalisation's training reads and writes its input less often."""
    return STATISTICS.apply(graph)
