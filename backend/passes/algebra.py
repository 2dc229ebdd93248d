"""Algebra: equations that hold for every number, bit for bit, and moves that cancel."""
from __future__ import annotations

from ..graph import Graph
from ..ops.shape import transpose_axes
from ..tensor import Node, Tensor
from .patterns import Equation, Equations, made

# Bit for bit, NaN, infinities and both zeros included: x + 0 is not among them, because it makes
# 0 of -0, nor is x - x, which is NaN for infinity. A reciprocal is exact where it is a power of 2.
EXACT = Equations([
    Equation("-(-x)", "x"),
    Equation("x * 1", "x"),
    Equation("x / 1", "x"),
    Equation("x - 0.0", "x"),
    Equation("x + -0.0", "x"),
    Equation("x * -1", "-x"),
    Equation("x / -1", "-x"),
    Equation("x + -y", "x - y"),
    Equation("x - -y", "x + y"),
    Equation("-x * -y", "x * y"),
    Equation("-x / -y", "x / y"),
    Equation("square(-x)", "square(x)"),
    Equation("square(abs(x))", "square(x)"),
    Equation("abs(-x)", "abs(x)"),
    Equation("abs(abs(x))", "abs(x)"),
    Equation("relu(relu(x))", "relu(x)"),
    Equation("power(x, 1)", "x"),
    Equation("power(x, 2)", "square(x)"),
    Equation("maximum(x, x)", "x"),
    Equation("minimum(x, x)", "x"),
    Equation("where(c, x, x)", "x"),
    Equation("logical_not(logical_not(x))", "x"),
    Equation("reshape(reshape(x), shape=s)", "reshape(x, shape=s)"),
    Equation("reshape(expand_dims(x), shape=s)", "reshape(x, shape=s)"),
    Equation("reshape(squeeze(x), shape=s)", "reshape(x, shape=s)"),
    Equation("squeeze(expand_dims(x, axis=a), axis=a)", "x"),
    Equation("expand_dims(squeeze(x, axis=a), axis=a)", "x"),
    Equation("flip(flip(x, axis=a), axis=a)", "x"),
])


def algebra(graph: Graph) -> Graph:
    """The graph with what cancels gone; results keep every bit."""
    cut = frozenset(graph.inputs)
    exact = EXACT.rule(cut)

    def rule(node: Node, inputs: tuple[Tensor, ...]):
        move = MOVES.get(node.op.name)
        moved = move(node, inputs, cut) if move else None
        return exact(node, inputs) if moved is None else moved

    return graph.rewrite(rule)


# ---- moves that cancel -------------------------------------------------------------------------

def _transpose(node: Node, inputs, cut):
    """Two transposes are one, or none."""
    inner = inputs[0].node
    if inner.op.name != "transpose" or inputs[0] in cut:
        return None
    outer = transpose_axes(node.settings["axes"], inputs[0].ndim)
    first = transpose_axes(inner.settings["axes"], inputs[0].ndim)
    axes = tuple(first[a] for a in outer)
    x = inner.inputs[0]
    return (x if axes == tuple(range(x.ndim)) else made("transpose", x, like=node, axes=axes),)


def _matmul(node: Node, inputs, cut):
    """A product reads a transposed matrix as it lies."""
    settings, factors, found = dict(node.settings), list(inputs), False
    for place, name in enumerate(("transpose_x", "transpose_y")):
        t = factors[place]
        # Several matrices on the left may be multiplied as one, but not transposed ones.
        if t.node.op.name == "transpose" and t not in cut and (t.ndim == 2 or place and t.ndim > 2):
            axes = transpose_axes(t.node.settings["axes"], t.ndim)
            if axes == (*range(t.ndim - 2), t.ndim - 1, t.ndim - 2):
                factors[place], settings[name] = t.node.inputs[0], not settings[name]
                found = True
    return (made("matmul", *factors, like=node, **settings),) if found else None


def _cast(node: Node, inputs, cut):
    """There and back by a type that holds every value of the first."""
    inner, x = inputs[0].node, inputs[0]
    if inner.op.name != "cast" or x in cut:
        return None
    x = inner.inputs[0]
    there, back = inner.specs[0].dtype, node.specs[0].dtype
    holds = x.dtype.kind == there.kind and x.dtype.itemsize <= there.itemsize
    return (x,) if back == x.dtype and holds else None


MOVES = {"transpose": _transpose, "matmul": _matmul, "cast": _cast}
