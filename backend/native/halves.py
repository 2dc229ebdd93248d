"""Which tensors the core stores as bfloat16, in two bytes: rounded ones that only products read."""
from __future__ import annotations

from ..tensor import Node, Tensor

CONVOLUTIONS = ("convolution", "convolution_data_gradient", "convolution_kernel_gradient")
SEEN_THROUGH = ("reshape", "transpose", "expand_dims", "squeeze", "stop_gradient")


def halves(graph, users: dict[Tensor, list[Node]], kept: set[Tensor]) -> set[Tensor]:
    """Tensors in two bytes: both factors of every product that reads one are among them.

    All other rounded tensors are float32, with the same values; products of those are exact in
    float32, so where processors have no bfloat16 nothing but time is lost.
    """
    fed = set(graph.inputs)
    found = {n.outputs[0] for n in graph.steps if n.op.name == "round_to_bfloat16"
             and n.specs[0].dtype == "float32" and n.specs[0].size}
    for node in graph.steps:
        if node.op.name in SEEN_THROUGH and node.inputs[0] in found:
            found.add(node.outputs[0])
    found -= kept | fed
    while True:
        odd = {t for t in found if not all(_reads(n, found, fed) for n in users.get(t, ()))}
        odd |= {t for t in found if t.node.op.name in SEEN_THROUGH
                and (t.node.inputs[0] not in found or t.node.inputs[0] in odd)}
        if not odd:
            return found
        found -= odd


def _reads(node: Node, found: set[Tensor], fed: set[Tensor]) -> bool:
    """Whether a node takes a tensor that is stored in two bytes."""
    if node.op.name in SEEN_THROUGH:
        return node.outputs[0] in found
    if node.outputs[0] in fed or not node.specs[0].size or not all(f in found for f in node.inputs):
        return False
    return node.op.name in CONVOLUTIONS and _blocked(node) or \
        node.op.name == "matmul" and _plain(*node.inputs, node)


def _blocked(node: Node) -> bool:
    """Whether oneDNN has a fast kernel: for the channels of a picture, or blocks of eight."""
    kernel = node.specs[0] if node.op.name == "convolution_kernel_gradient" else node.inputs[1].spec
    *_, depth, filters = kernel.shape
    return filters % 8 == 0 and (depth % 8 == 0 or node.settings["groups"] == 1 and depth <= 4)


def _plain(x: Tensor, y: Tensor, node: Node) -> bool:
    """Whether oneDNN takes a product as it stands: no broadcasting of batches."""
    return x.ndim == y.ndim or x.ndim > 2 == y.ndim and not node.settings["transpose_x"]
