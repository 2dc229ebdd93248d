"""Batch normalisation as arithmetic: elementwise steps, which fuse with the ReLU or sum behind."""
from __future__ import annotations

from functools import partial

from ..graph import Graph
from .patterns import made, number


def open_batch_norm(graph: Graph) -> Graph:
    """The graph in which ``batch_norm`` is ``(x - mean) * scale + beta``, bit for bit.

    For backends that compute elementwise chains in one pass over memory: the normalisation, the
    addition of a residual, ReLU and its mask become one loop; the sums of its gradient, to
    rounding, become part of the loop that computes what they sum.
    """
    def rule(node, inputs):
        here = partial(made, like=node)
        if node.op.name == "batch_norm_sums":
            g, x, mean = inputs
            axes = tuple(range(x.ndim - 1))
            return (here("sum", g, axis=axes),
                    here("sum", here("multiply", here("subtract", x, mean), g), axis=axes))
        if node.op.name != "batch_norm":
            return None
        x, mean, variance, gamma, beta = inputs
        bounded = here("add", variance, number(node.settings["epsilon"], like=node))
        scale = here("divide", gamma, here("sqrt", bounded))
        centred = here("subtract", x, mean)
        return (here("add", here("multiply", centred, scale), beta),)

    return graph.rewrite(rule)
