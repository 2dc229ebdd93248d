"""Normalisation and weighted sums over samples for the core."""
from __future__ import annotations

from ..spec import axes_of
from ..tensor import Node, Tensor

FLOATS = ("float32", "float64")


def _fits(node: Node) -> bool:
    return node.specs[0].dtype.name in FLOATS


def _rows(x) -> tuple[int, int]:
    """Rows of channels."""
    return x.spec.size // x.shape[-1], x.shape[-1]


def _batch_norm(program, node: Node):
    if not _fits(node):
        return None
    program.core.batch_norm(*map(program.whole, node.inputs), program.out(node.outputs[0]).value,
                            *_rows(node.inputs[0]), node.settings["epsilon"])
    return True


def _batch_norm_sums(program, node: Node):
    if not _fits(node):
        return None
    program.core.batch_norm_sums(*map(program.whole, node.inputs),
                                 *(program.out(t).value for t in node.outputs),
                                 *_rows(node.inputs[0]))
    return True


def _layer_norm(program, node: Node):
    if not _fits(node):
        return None
    x, *vectors = node.inputs
    values = [*map(program.whole, vectors), -1, -1][:2]
    program.core.layer_norm(program.whole(x), *values, program.out(node.outputs[0]).value,
                            *_rows(x), node.settings["epsilon"])
    return True


def _layer_norm_gradient(program, node: Node):
    if not _fits(node):
        return None
    program.core.layer_norm_gradient(*map(program.whole, node.inputs),
                                     program.out(node.outputs[0]).value, *_rows(node.inputs[0]),
                                     node.settings["epsilon"])
    return True


def batch_weights(program, x: Tensor) -> tuple[Tensor, ...] | None:
    """The weights, if any, of the batch's sum of each channel; None where there is no such sum."""
    for node in program.users.get(x, ()):
        if node.op.name == "batch_sum" and _sums_channels(node) and \
                all(t in program.views for t in node.inputs[1:]):
            return node.inputs[1:]
    return None


def _sums_channels(node: Node) -> bool:
    x = node.inputs[0]
    return axes_of(node.settings["axes"], x.ndim) == tuple(range(x.ndim - 1))


def _by_moments(program, node: Node, x: Tensor, weights, mean: int) -> bool:
    """Whether who computed x has its moments, which then give the sum."""
    moments, known = program.moments.get(x, (-1, None))
    if moments < 0 or known != weights:
        return False
    program.core.moment_sums(moments, mean, program.out(node.outputs[0]).value)
    return True


def _batch_sum(program, node: Node):
    """Leading axes: rows of what is kept, each weighted by its sample."""
    x, *weights = node.inputs
    axes = axes_of(node.settings["axes"], x.ndim)
    if not _fits(node) or axes != tuple(range(len(axes))):
        return None
    if _sums_channels(node) and _by_moments(program, node, x, tuple(weights), -1):
        return True
    channels = node.specs[0].size
    rows = x.spec.size // channels
    value, out = program.whole(x), program.out(node.outputs[0]).value
    weighted = program.whole(weights[0]) if weights else -1
    if rows == x.shape[0] or channels == 1 and not weights:
        program.core.reduce("sum", value, out, 1, rows, channels, 1.0, weighted)
    else:
        program.core.channel_sums(value, -1, weighted, out, rows, channels, rows // x.shape[0])
    return True


def _batch_squares(program, node: Node):
    if not _fits(node):
        return None
    x, mean, *weights = node.inputs
    if _by_moments(program, node, x, tuple(weights), program.whole(mean)):
        return True
    rows, channels = _rows(x)
    program.core.channel_sums(program.whole(x), program.whole(mean),
                              program.whole(weights[0]) if weights else -1,
                              program.out(node.outputs[0]).value, rows, channels,
                              rows // x.shape[0])
    return True


NORMALIZATION = {"batch_norm": _batch_norm, "batch_norm_sums": _batch_norm_sums,
                 "batch_squares": _batch_squares,
                 "layer_norm": _layer_norm, "layer_norm_gradient": _layer_norm_gradient,
                 "batch_sum": _batch_sum}
