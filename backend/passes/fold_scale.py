"""Fixed scales at inference: a factor before or behind a product goes into its weights."""
from __future__ import annotations

from ..graph import Graph
from ..tensor import Node, Tensor
from .fold_batch_norm import PRODUCTS, weights_only
from .patterns import made, readers

SCALES = ("multiply", "divide")


def fold_scale(graph: Graph) -> Graph:
    """The graph in which ``(x s) K`` and ``(x K) s`` are ``x (K s)``, for s and K of weights alone.

    Before the product s is one number, as for pixels divided by 255; behind it also one per
    filter, the last axis of K. The weights are scaled once for each set of them where the program
    keeps what depends on variables alone. Graphs with updates stay as they are: in training the
    weights change with every step.
    """
    if graph.updates:
        return graph
    read, fixed = readers(graph), weights_only(graph)
    behind = {node: part for node in graph.steps if (part := _behind(node, graph, read, fixed))}
    before = {node: place for node in graph.steps
              if (place := _before(node, graph, read, fixed)) is not None}

    def rule(node: Node, inputs: tuple[Tensor, ...]):
        if node in before:
            x, factor = inputs[0].node.inputs if before[node] == 0 else inputs[0].node.inputs[::-1]
            kernel = made(inputs[0].node.op.name, inputs[1], factor, like=node)
            return node.with_inputs((x, kernel)).outputs
        if node in behind:
            product, place = behind[node]
            now, factor = inputs[place].node, inputs[1 - place]
            if factor.shape and product.settings.get("transpose_y"):
                factor = made("expand_dims", factor, like=node, axis=-1)
            kernel = made(node.op.name, now.inputs[1], factor, like=product)
            return now.with_inputs((now.inputs[0], kernel)).outputs
        return None

    return graph.rewrite(rule)


def _factor(node: Node, fixed, shapes) -> int | None:
    """Where the scaled input of a multiplication or division stands, if the other is fixed."""
    if node.op.name not in SCALES:
        return None
    for place in (0,) if node.op.name == "divide" else (0, 1):
        x, factor = node.inputs[place], node.inputs[1 - place]
        if factor in fixed and x not in fixed and factor.shape in shapes and \
                x.spec == node.specs[0]:
            return place
    return None


def _weighted(node: Node, fixed) -> bool:
    """Whether a node is a product with weights that are functions of variables alone."""
    return node.op.name in PRODUCTS and node.inputs[1] in fixed and \
        node.inputs[0] not in fixed and (node.op.name != "matmul" or node.inputs[1].ndim == 2)


def _before(product: Node, graph: Graph, read, fixed) -> int | None:
    """Where the scaled input stands in the multiplication before a product."""
    if not _weighted(product, fixed):
        return None
    scaled = product.inputs[0]
    if len(read(scaled)) != 1 or scaled in graph.inputs:
        return None
    return _factor(scaled.node, fixed, ((),))


def _behind(node: Node, graph: Graph, read, fixed) -> tuple[Node, int] | None:
    """The product that a node scales, and where it stands among its inputs."""
    place = _factor(node, fixed, ((), node.specs[0].shape[-1:]))
    if place is None:
        return None
    product = node.inputs[place]
    private = len(read(product)) == 1 and product not in graph.inputs
    return (product.node, place) if private and _weighted(product.node, fixed) else None
