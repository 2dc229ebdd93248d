"""Placement: where an edge of the graph joins two devices, a copy node carries the value over."""
from __future__ import annotations

from ..graph import Graph
from ..tensor import Node, Tensor, constant_op, copy_op


def placement(graph: Graph) -> Graph:
    """The graph with a copy wherever a node reads what is on another device.

    There is one copy per value and device. Constants are everywhere, a variable's new value is
    carried to where the variable is, and outputs are fetched from where they are. Without this pass
    a graph runs on one device, with the same results.
    """
    if len(graph.devices) < 2:
        return graph
    copies: dict[tuple[Tensor, str], Tensor] = {}

    def moved(t: Tensor, device: str, reader: Node) -> Tensor:
        if graph.place(t.node) == device or t.node.op is constant_op:
            return t
        if (t, device) not in copies:
            made = Node(copy_op, (t,), {"device": device}, (t.spec,), device, reader.where,
                        reader.layer)
            copies[t, device] = made.outputs[0]
        return copies[t, device]

    def rule(node, inputs):
        device = graph.place(node)
        if node.op is copy_op:
            made = node.with_inputs(inputs).outputs
            return (copies.setdefault((inputs[0], device), made[0]),)
        here = tuple(moved(t, device, node) for t in inputs)
        return node.outputs if here == node.inputs else node.with_inputs(here).outputs

    result = graph.rewrite(rule)
    updates = {v: moved(t, graph.place(v.node), t.node) for v, t in result.updates.items()}
    return Graph(result.outputs, updates, result.inputs)
