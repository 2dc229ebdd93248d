"""ReLU in pooling: the pool takes the ReLU before or behind it, and the mask of its gradient."""
from __future__ import annotations

from ..graph import Graph
from ..op import OPS
from ..tensor import Node
from .patterns import readers, uniform


def relu_in_pool(graph: Graph) -> Graph:
    """The graph in which ``max_pool(relu(x))`` is ``max_pool(x, relu=True)``, and so its gradient.

    Both are equal, NaN included, because ReLU never turns the order of two numbers round; only
    which zero stands for a window of zeros may differ in sign. The gradient's mask
    ``relu(x) > 0`` lets a gradient through where the window's largest is above zero, and in such
    a window the same element is the largest before and after ReLU; the others have no index. So
    neither ReLU nor mask is left, and nothing of the size before pooling is kept for the
    gradient. It is done only where all readers of the ReLU's result vanish by it.
    ``relu(max_pool(x))`` is the same where nobody reads the indices.
    """
    read = readers(graph)
    masks: dict[Node, list[Node]] = {}         # of every ReLU that a pool takes: masked gradients
    pools: set[Node] = set()
    for relu in graph.steps:
        parts = _parts(relu, graph, read) if relu.op is OPS["relu"] else None
        if parts:
            pools.add(parts[0])
            masks[relu] = parts[1]
    masked = {where for wheres in masks.values() for where in wheres}

    def rule(node, inputs):
        if node in pools:
            settings = {**node.settings, "relu": True}
            specs = node.op.spec(inputs[0].spec, **settings)
            return Node(node.op, inputs, settings, specs, node.device, node.where,
                        node.layer).outputs
        return inputs[:1] if node in masks else inputs[1:2] if node in masked else None

    return graph.rewrite(rule)


def _parts(relu: Node, graph: Graph, read) -> tuple[Node, list[Node]] | None:
    """The pool that may take a ReLU, and the masked gradients that its indices then mask."""
    if any(t in graph.inputs for t in relu.outputs):
        return None
    before = relu.inputs[0].node
    if before.op is OPS["max_pool"]:
        alone = relu.inputs[0] not in graph.inputs and read(relu.inputs[0]) == [relu]
        return (before, []) if alone and not read(before.outputs[1]) else None
    users = read(relu.outputs[0])
    pools = [n for n in users if n.op is OPS["max_pool"]]
    masks = [n for n in users if n.op is OPS["greater"]]
    if len(pools) != 1 or len(users) != 1 + len(masks):
        return None
    pool, wheres = pools[0], []
    if any(t in graph.inputs for t in pool.outputs):
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
