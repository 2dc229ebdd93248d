"""Rows: softmax and its relatives, cross-entropy of the softmax, layer normalisation."""
from __future__ import annotations

import numpy as np

from ..spec import axes_of
from ..tensor import Node
from .columns import arranged, rows, turned_back
from .device import Pointer
from .emit_reduce import scalar, sizes
from .expression import FLOATS, TYPES

NONE = np.uint64(0)            # an address that is not given
LABELS = ("int64", "int32", "uint8", "uint32")


def _softmax(name: str, reduces: bool = False):
    def emit(program, node: Node):
        x, out = node.inputs[0], node.outputs[0]
        if x.dtype.name not in FLOATS:
            return None
        value, columns, order = arranged(program, x, axes_of(node.settings["axis"], x.ndim))
        to = program.write(out)
        if order and not reduces:
            program.views[out] = turned_back(to.value, out.shape, order)
        program.kernel("softmax.cu", name, *rows(*columns),
                       [Pointer(value), to, *sizes(*columns)], T=TYPES[x.dtype.name])
        return True
    return emit


def _cross_entropy(program, node: Node, *fused: Node):
    """The loss, the gradient, or both in one launch."""
    nodes = {n.op.name: n for n in (node, *fused)}
    loss, gradient = (nodes.get(f"softmax_cross_entropy{s}") for s in ("", "_gradient"))
    logits, labels = node.inputs[-2:]
    dense = labels.spec.is_float
    if logits.dtype.name not in FLOATS or not dense and labels.dtype.name not in LABELS:
        return None
    n, smoothing = logits.shape[-1], node.settings["label_smoothing"]
    count, kind = logits.spec.size // n, logits.dtype.name
    complaint = program.complaint(
        IndexError, f"a label is not below the number of classes, {n}", labels)
    program.kernel(
        "cross_entropy.cu", "softmax_cross_entropy", *rows(count, n),
        [program.read(logits), program.read(labels),
         program.write(loss.outputs[0]) if loss else NONE,
         *((program.read(gradient.inputs[0]), program.write(gradient.outputs[0])) if gradient else
           (NONE, NONE)),
         *sizes(count, n), scalar(1.0 - smoothing, kind), scalar(smoothing / n, kind), *complaint],
        T=TYPES[kind], L=TYPES[labels.dtype.name], DENSE=int(dense))
    return True


def _layer_norm(program, node: Node):
    x, *vectors = node.inputs
    if x.dtype.name not in FLOATS:
        return None
    n = x.shape[-1]
    count = x.spec.size // n
    given = [*map(program.read, vectors), NONE, NONE][:2]
    program.kernel("layer_norm.cu", "layer_norm", *rows(count, n),
                   [program.read(x), *given, program.write(node.outputs[0]), *sizes(count, n),
                    scalar(node.settings["epsilon"], x.dtype.name)], T=TYPES[x.dtype.name])
    return True


def _layer_norm_gradient(program, node: Node):
    g, x = node.inputs
    if x.dtype.name not in FLOATS:
        return None
    n = x.shape[-1]
    count = x.spec.size // n
    program.kernel("layer_norm.cu", "layer_norm_gradient", *rows(count, n),
                   [program.read(g), program.read(x), program.write(node.outputs[0]),
                    *sizes(count, n), scalar(node.settings["epsilon"], x.dtype.name)],
                   T=TYPES[x.dtype.name])
    return True


ROWS = {"softmax": _softmax("softmax"), "log_softmax": _softmax("log_softmax"),
        "logsumexp": _softmax("logsumexp", reduces=True),
        "softmax_cross_entropy": _cross_entropy, "softmax_cross_entropy_gradient": _cross_entropy,
        "layer_norm": _layer_norm, "layer_norm_gradient": _layer_norm_gradient}
