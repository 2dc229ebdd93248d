"""Batch normalisation at inference: its fixed scale goes into the weights of the layer before."""
from __future__ import annotations

from functools import partial

from ..graph import Graph
from ..tensor import Node, Tensor, Variable, constant_op
from .patterns import made, number, readers

PRODUCTS = ("matmul", "convolution")


def fold_batch_norm(graph: Graph) -> Graph:
    """The graph in which a product with weights, a bias and fixed statistics is product and bias.

    ``gamma (x K + b - mean) / sqrt(variance + epsilon) + beta`` is ``x (K s) + (b - mean) s +
    beta`` with ``s = gamma / sqrt(variance + epsilon)``; filters are the last axis of K. ``K s``
    and the new bias depend on variables alone, so that a program may compute them once for each
    set of weights. The statistics of a batch depend on what is fed, so training stays as it is.
    Nothing is lost to cancellation that rounding ``x K + b`` has not lost before. Jacob et al.,
    "Quantization and training of neural networks", 2018, section 3.2.
    """
    read = readers(graph)
    fixed = weights_only(graph)
    found = {node: parts for node in graph.steps
             if node.op.name == "batch_norm" and (parts := _parts(node, graph, read, fixed))}

    def rule(node: Node, inputs: tuple[Tensor, ...]):
        if node not in found:
            return None
        product, bias = found[node]
        _, mean, variance, gamma, beta = inputs
        x, kernel = _rewritten(product, bias, inputs[0])
        here = partial(made, like=node)
        bounded = here("add", variance, number(node.settings["epsilon"], like=node))
        scale = here("divide", gamma, here("sqrt", bounded))
        if bias is None:
            shift = here("subtract", beta, here("multiply", mean, scale))
        else:
            shift = here("add", beta, here("multiply", here("subtract", bias, mean), scale))
        if product.settings.get("transpose_y"):
            scale = here("expand_dims", scale, axis=-1)
        kernel = made("multiply", kernel, scale, like=product)
        return (here("add", product.with_inputs((x, kernel)).outputs[0], shift),)

    return graph.rewrite(rule)


def _rewritten(product: Node, bias, now: Tensor) -> tuple[Tensor, Tensor]:
    """The factors of a product as they are in the new graph, behind its bias if there is one."""
    return (now.node if bias is None else now.node.inputs[0].node).inputs


def weights_only(graph: Graph) -> set[Tensor]:
    """Tensors that are functions of variables and constants alone, feeds left out."""
    found: set[Tensor] = set()
    for node in graph.nodes:
        leaf = node.op is constant_op or isinstance(node.outputs[0], Variable)
        if leaf or node.inputs and all(t in found for t in node.inputs):
            found.update(t for t in node.outputs if t not in graph.inputs)
    return found


def _parts(norm: Node, graph: Graph, read, fixed) -> tuple[Node, Tensor | None] | None:
    """The product before a normalisation and its bias, if nothing else reads them."""
    x, bias = norm.inputs[0], None
    private = lambda t: len(read(t)) == 1 and t not in graph.inputs
    if not all(t in fixed for t in norm.inputs[1:]) or not private(x):
        return None
    if x.node.op.name == "add":
        x, bias = x.node.inputs
        if bias not in fixed or bias.shape != norm.inputs[1].shape or not private(x):
            return None
    product = x.node
    fits = product.op.name in PRODUCTS and product.inputs[1] in fixed and (
        product.op.name == "convolution" or product.inputs[1].ndim == 2)
    return (product, bias) if fits and product.inputs[0] not in fixed else None
