"""Constant folding: what depends on constants alone is computed once, while compiling."""
from __future__ import annotations

import numpy as np

from ..array_module import numpy_module
from ..graph import COLLECTIVES, Graph
from ..tensor import constant, constant_op

SMALL = 16  # elements: a folded constant lives as long as the program and is in its text


def fold(graph: Graph) -> Graph:
    """The graph with nodes of only constants replaced by their values.

    What is larger than its inputs is computed at run time, where it often takes no memory; so are
    collectives, which other replicas take part in.
    """
    def rule(node, inputs):
        if not inputs or any(t.node.op is not constant_op for t in inputs):
            return None
        size = sum(s.size for s in node.specs)
        if size > max(SMALL, sum(t.size for t in inputs)) or node.op.name in COLLECTIVES:
            return None
        with np.errstate(all="ignore"):
            values = node.op.forward(numpy_module, *(t.node.settings["value"] for t in inputs),
                                     **node.settings)
        values = values if len(node.specs) > 1 else (values,)
        return tuple(constant(np.asarray(v, s.dtype)) for v, s in zip(values, node.specs))

    return graph.rewrite(rule)
