"""Fusions: which nodes the core computes in one step beside elementwise chains."""
from __future__ import annotations

from ..lowering.clusters import FLOATS
from ..lowering.halves import CONVOLUTIONS
from ..tensor import Node, Tensor


def _with_pool(node: Node, users, kept) -> list[Node] | None:
    """A convolution of images, its bias, and the max-pooling of that."""
    if node.op.name != "convolution" or node.specs[0].dtype != "float32" or \
            len(node.specs[0].shape) != 4:
        return None
    nodes = _with_bias(node, users, kept)
    if nodes is None or nodes[-1].op.name != "add" or nodes[-1].outputs[0] in kept:
        return None
    after = users.get(nodes[-1].outputs[0], ())
    if len(after) != 1 or after[0].op.name != "max_pool" or not _pools_pairs(after[0].settings):
        return None
    return [*nodes, after[0]]


def _with_pool_gradient(node: Node, users, kept) -> list[Node] | None:
    """The gradient of max-pooling that only such a convolution's kernel, and its bias, want."""
    out = node.outputs[0]
    if node.op.name != "max_pool_gradient" or out in kept or not _pools_pairs(node.settings):
        return None
    readers = users.get(out, ())
    kernel = next((n for n in readers if n.op.name == "convolution_kernel_gradient"), None)
    if kernel is None or kernel.inputs[1] is not out or \
            not _few_channels(kernel.inputs[0], kernel.specs[0].shape):
        return None
    nodes = [node, *(_with_bias_gradient(kernel, users, kept) or [kernel])]
    return nodes if set(readers) == set(nodes[1:]) else None


def _few_channels(x: Tensor, kernel) -> bool:
    """Whether an image's channels are few; the core says whether it takes the rest."""
    return x.ndim == 4 and x.dtype == "float32" and x.shape[-1] <= 4 and len(kernel) == 4


def _pools_pairs(settings) -> bool:
    """Whether pooling is over windows of 2 x 2 that do not meet."""
    size, strides = settings["pool_size"], settings["strides"] or settings["pool_size"]
    return all(n in (2, (2, 2), [2, 2]) for n in (size, strides))


def _with_bias(node: Node, users, kept) -> list[Node] | None:
    """A matrix product or convolution, the bias added to it, and the ReLU of that."""
    if node.op.name not in ("matmul", "convolution") or node.specs[0].dtype.name not in FLOATS:
        return None
    out = node.outputs[0]
    if out in kept or len(users.get(out, ())) != 1:
        return None
    add = users[out][0]
    if add.op.name != "add" or add.inputs[0] is not out or add.specs[0] != out.spec or \
            add.inputs[1].shape != out.shape[-1:]:
        return None
    total = add.outputs[0]
    after = users.get(total, ())
    if total not in kept and len(after) == 1 and after[0].op.name == "relu":
        return [node, add, after[0]]
    return [node, add]


def _with_bias_gradient(node: Node, users, kept) -> list[Node] | None:
    """A convolution's kernel gradient and the bias gradient, which oneDNN computes together."""
    if node.op.name != "convolution_kernel_gradient" or node.specs[0].dtype != "float32":
        return None
    g = node.inputs[1]
    for other in users[g]:
        if other.op.name == "sum" and not other.settings["keepdims"] and \
                other.specs[0].shape == g.shape[-1:] and \
                other.settings["axis"] in (tuple(range(g.ndim - 1)), ):
            return [node, other]
    return None


# Which nodes make one step, and whether it stands where the first of them does or the last.
PATTERNS = ((_with_pool, max), (_with_pool_gradient, max), (_with_bias, max),
            (_with_bias_gradient, min))


def multiplies_bfloat16(node: Node) -> bool:
    """Whether oneDNN has a fast product of a node's factors as they stand in two bytes."""
    if node.op.name in CONVOLUTIONS:                   # channels of a picture, or blocks of eight
        kernel = node.specs[0] if node.op.name == "convolution_kernel_gradient" else \
            node.inputs[1].spec
        *_, depth, filters = kernel.shape
        return filters % 8 == 0 and (depth % 8 == 0 or node.settings["groups"] == 1 and depth <= 4)
    if node.op.name != "matmul":
        return False
    x, y = node.inputs                                 # no broadcasting of batches
    return x.ndim == y.ndim or x.ndim > 2 == y.ndim and not node.settings["transpose_x"]
