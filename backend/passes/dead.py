"""Dead nodes: drop what is never read, and what returns its input as it is."""
from __future__ import annotations

from ..graph import Graph

# Ops that change nothing when the condition on (node, input spec) holds.
IDENTITIES = {
    "cast": lambda node, x: node.specs[0] == x,
    "copy": lambda node, x: node.device == node.inputs[0].device,
    "stop_gradient": lambda node, x: True,
    "reshape": lambda node, x: node.specs[0] == x,
    "broadcast_to": lambda node, x: node.specs[0] == x,
    "transpose": lambda node, x: node.settings["axes"] == tuple(range(len(x.shape))),
}


def dead(graph: Graph) -> Graph:
    """The graph without nodes that have no effect; nodes nothing reads go by being unreachable."""
    def rule(node, inputs):
        idle = IDENTITIES.get(node.op.name)
        return inputs if idle and idle(node, inputs[0].spec) else None

    result = graph.rewrite(rule)
    return Graph(result.outputs, {v: t for v, t in result.updates.items() if v is not t},
                 result.inputs)
