"""ReLU after pooling: the largest of a window is taken first, and ReLU sees what is left."""
from __future__ import annotations

from ..graph import Graph
from ..op import OPS
from ..tensor import Node, Tensor
from .patterns import made, readers, uniform


def relu_after_pool(graph: Graph) -> Graph:
    """The graph in which ``max_pool(relu(x))`` is ``relu(max_pool(x))``, and so its gradient.

    Both are equal, NaN included, because ReLU never turns the order of two numbers round; only
    which zero stands for a window of zeros may differ in sign. The gradient's mask
    ``relu(x) > 0`` may be taken of the pooled numbers, because it lets a gradient through where
    the window's largest is above zero, and in such a window the same element is the largest
    before and after ReLU. What is left to ReLU and its mask is smaller by the window, and nothing
    of the size before pooling is kept for the gradient. It is done only where all readers of the
    large result vanish by it.
    """
    read = readers(graph)
    found = {relu: parts for relu in graph.steps
             if relu.op is OPS["relu"] and (parts := _parts(relu, graph, read))}
    if not found:
        return graph
    pools = {pool: relu for relu, (pool, _) in found.items()}
    masked = {where: relu for relu, (_, wheres) in found.items() for where in wheres}
    after: dict[Node, Tensor] = {}             # a ReLU and what it makes of the pooled numbers

    def rule(node, inputs):
        if node in found:
            return inputs
        if node in pools:
            pool = node.with_inputs(inputs)
            relu = after[pools[node]] = made("relu", pool.outputs[0], like=pools[node])
            return relu, pool.outputs[1]
        if node in masked:
            spread, zero = inputs[1].node, inputs[2]
            small = made("greater", after[masked[node]], zero, like=node.inputs[0].node)
            g = made("where", small, spread.inputs[0], zero, like=node)
            return spread.with_inputs((g, spread.inputs[1])).outputs
        return None

    return graph.rewrite(rule)


def _parts(relu: Node, graph: Graph, read) -> tuple[Node, list[Node]] | None:
    """The pool that reads a ReLU and the masked gradients, if nothing else needs its result."""
    users = read(relu.outputs[0])
    pools = [n for n in users if n.op is OPS["max_pool"]]
    masks = [n for n in users if n.op is OPS["greater"]]
    if len(pools) != 1 or len(users) != 1 + len(masks):
        return None
    pool, wheres = pools[0], []
    if any(t in graph.inputs for t in (*relu.outputs, *pool.outputs)):
        return None
    for mask in masks:
        if mask.inputs[0] is not relu.outputs[0] or not uniform(mask.inputs[1], 0.0, graph.inputs):
            return None
        wheres += read(mask.outputs[0])
    spreads = {n.inputs[1].node for n in wheres if n.op is OPS["where"]}
    fits = all(n.op is OPS["where"] and n.inputs[0].node in masks and n.specs[0] == relu.specs[0]
               and n.inputs[2].shape == () and uniform(n.inputs[2], 0.0, graph.inputs)
               for n in wheres)
    private = all(s.op is OPS["max_pool_gradient"] and s.inputs[1] is pool.outputs[1] and
                  s.specs[0] == relu.specs[0] and s.outputs[0] not in graph.inputs and
                  all(n in wheres for n in read(s.outputs[0])) for s in spreads)
    private = private and spreads.issuperset(read(pool.outputs[1]))
    return (pool, wheres) if fits and private else None
