"""Shapes known at compile time: ops that read an input only for its shape no longer need it."""
from __future__ import annotations

import math

import numpy as np

from ..graph import Graph
from ..op import OPS
from ..spec import axes_of
from ..tensor import LEAVES, Tensor, constant


def filled(value, spec) -> Tensor:
    """One number seen as a whole tensor: it takes no memory."""
    return OPS["broadcast_to"](constant(np.full((), value, spec.dtype)), shape=spec.shape)


def padded(node, inputs) -> Tensor | None:
    """A slice's gradient as padding, where the slice has no gaps."""
    g, x = inputs
    start, stop, step = (node.settings[name] for name in ("start", "stop", "step"))
    if any(n not in (None, 1) for n in step or ()):
        return None
    bounds = [slice(*part).indices(n) for part, n in zip(zip(start, stop), x.shape)]
    widths = [(low, n - max(low, high)) for (low, high, _), n in zip(bounds, x.shape)]
    if not any(map(any, widths)):
        return g
    whole = ((0, 0),) * (x.ndim - len(widths))
    return OPS["pad"](g, widths=(*widths, *whole), value=0.0)


# What stands for an op once shapes are known, as a function of the node and its new inputs.
FORMS = {
    "broadcast_like": lambda node, inputs: OPS["broadcast_to"](inputs[0], shape=inputs[1].shape),
    "zeros_like": lambda node, inputs: filled(0, node.specs[0]),
    "ones_like": lambda node, inputs: filled(1, node.specs[0]),
    "count": lambda node, inputs: filled(math.prod(
        inputs[0].shape[i] for i in axes_of(node.settings["axis"], inputs[0].ndim)), node.specs[0]),
    "full_lengths": lambda node, inputs: filled(inputs[0].shape[1], node.specs[0]),
    "slice_gradient": padded,
}

# Which input an op reads only for its shape. Where there is no other form, zeros that take no
# memory replace it if the op is what keeps it alive; else the op would only get more to read.
ONLY_SHAPE = {"broadcast_like": 1, "zeros_like": 0, "ones_like": 0, "count": 0, "full_lengths": 0,
              "slice_gradient": 1, "scatter_add": 2, "put_along": 2, "sequence_mask": 0,
              "dropout_mask": 0, "normal_like": 0}


def shapes(graph: Graph) -> Graph:
    """The graph in which nothing is kept, or computed, for its shape alone."""
    last = _last_real_reads(graph)
    number = {node: step for step, node in enumerate(graph.steps)}

    def rule(node, inputs):
        form = FORMS.get(node.op.name)
        made = form(node, inputs) if form else None
        if made is not None:
            return (made,)
        place = ONLY_SHAPE.get(node.op.name)
        if place is None:
            return None
        like = node.inputs[place]
        if like.node.op in LEAVES or like in graph.inputs or last.get(like, -1) >= number[node]:
            return None
        stand_in = filled(0, like.spec)
        return node.with_inputs((*inputs[:place], stand_in, *inputs[place + 1:])).outputs

    return graph.rewrite(rule)


def _last_real_reads(graph: Graph) -> dict[Tensor, int]:
    """The last step that reads a tensor's numbers; who asks for it reads it at the end."""
    last: dict[Tensor, int] = {}
    for step, node in enumerate(graph.steps):
        place = ONLY_SHAPE.get(node.op.name)
        last.update((t, step) for i, t in enumerate(node.inputs) if i != place)
    last.update((t, len(graph.steps)) for t in (*graph.outputs, *graph.updates.values()))
    return last
