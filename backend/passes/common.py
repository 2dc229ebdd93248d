"""Common subexpressions: nodes that compute the same from the same are computed once."""
from __future__ import annotations

import numpy as np

from ..graph import Graph
from ..tensor import placeholder_op, variable_op


def common(graph: Graph) -> Graph:
    """The graph with equal nodes merged; random ops too, as functions of their counters."""
    seen: dict = {}

    def rule(node, inputs):
        if node.op in (placeholder_op, variable_op):
            return None
        settings = tuple((k, _hashable(v)) for k, v in node.settings.items())
        key = (node.op, inputs, settings, node.device)
        if key in seen:
            return seen[key]
        same = all(a is b for a, b in zip(inputs, node.inputs))
        seen[key] = node.outputs if same else node.with_inputs(inputs).outputs
        return seen[key]

    return graph.rewrite(rule)


def _hashable(value):
    """Equal settings have equal keys; 1 and 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tobytes()
    return type(value), repr(value)
