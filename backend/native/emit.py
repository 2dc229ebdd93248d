"""What the core computes, op by op: each entry emits a node's step, or returns None to decline."""
from __future__ import annotations

import math

from ..lowering.view import View, contiguous
from ..ops.sliding import sliding
from ..spec import Spec, axes_of
from ..tensor import Node
from .emit_moving import MOVING
from .emit_normalization import NORMALIZATION, batch_weights
from .emit_random import RANDOM
from .emit_recurrent import RECURRENT
from .emit_tables import TABLES
from .words import is_table_gradient, left_out

FLOATS = ("float32", "float64")


# ---- products ----------------------------------------------------------------------------------

def _matmul(program, node: Node, *fused: Node):
    x, y = node.inputs
    target = (fused[-1] if fused else node).outputs[0]
    transposed = node.settings["transpose_x"], node.settings["transpose_y"]
    dtype = target.dtype.name
    if dtype not in FLOATS:
        return None
    views = [program.views[t] for t in (x, y)]
    if x.ndim > 2 and y.ndim == 2 and not transposed[0]:       # one product of all rows
        if not views[0].is_contiguous():
            views[0] = View.whole(program.whole(x), x.shape)
        rows = math.prod(x.shape[:-1])
        views[0] = views[0]._replace(shape=(rows, x.shape[-1]), strides=(x.shape[-1], 1))
        shape = (rows, target.shape[-1])
    else:
        shape = target.shape
    views = [_turned(v) if t else v for v, t in zip(views, transposed)]
    views = [_batched(_usable(program, v, t, turned), len(shape))
             for v, t, turned in zip(views, (x, y), transposed)]
    out = program.out(target)._replace(shape=shape, strides=contiguous(shape))
    core = program.backend.core
    matrices = [core.Matrix(v.value, v.offset, list(v.shape), list(v.strides))
                for v in (*views, out)]
    bias = program.whole(fused[0].inputs[1]) if fused else -1
    multiply = program.core.matmul64 if dtype == "float64" else program.core.matmul
    multiply(*matrices, bias, fused[-1].op.name if len(fused) > 1 else "")
    return True


def _turned(view: View) -> View:
    """The last two axes exchanged."""
    return view._replace(shape=(*view.shape[:-2], view.shape[-1], view.shape[-2]),
                         strides=(*view.strides[:-2], view.strides[-1], view.strides[-2]))


def _batched(view: View, rank: int) -> View:
    """A matrix that every one of a batch meets, as a batch of one."""
    lead = rank - len(view.shape)
    if lead <= 0:
        return view
    step = max(n * s for n, s in zip(view.shape, view.strides))
    return view._replace(shape=(1,) * lead + view.shape, strides=(step,) * lead + view.strides)


def _usable(program, view: View, t, turned: bool) -> View:
    """A matrix one of whose last two axes runs without gaps; others are copied."""
    if 1 in view.strides[-2:] and all(s > 0 for s in view.strides):
        return view
    fresh = View.whole(program.whole(t), t.shape)
    if len(view.shape) != len(t.shape):
        fresh = fresh._replace(shape=view.shape, strides=contiguous(view.shape))
        return fresh
    return _turned(fresh) if turned else fresh


# ---- convolution and pooling -------------------------------------------------------------------

def _wide(t) -> bool:
    """Whether a tensor is float64, for which oneDNN has nothing fast."""
    return t.dtype == "float64"


def _window(program, size, window, settings, dilated: bool = True):
    axes = sliding(size, window, strides=settings["strides"] or window,
                   padding=settings["padding"],
                   **({"dilation": settings["dilation"]} if dilated else {}))
    return program.backend.core.Window([a.stride for a in axes], [a.dilation for a in axes],
                                       [a.low for a in axes], [a.high for a in axes])


def _convolution(program, node: Node, *fused: Node):
    x, kernel = node.inputs
    target = (fused[-1] if fused else node).outputs[0]
    if target.dtype.name not in FLOATS:
        return None
    window = _window(program, x.shape[1:-1], kernel.shape[:-2], node.settings)
    bias = program.whole(fused[0].inputs[1]) if fused else -1
    if len(fused) > 1 and fused[1].op.name == "max_pool":
        return _convolution_pool(program, node, bias, window, fused[1])
    operands = (program.array(x), program.array(kernel), program.result(target), bias, window,
                node.settings["groups"], fused[-1].op.name if len(fused) > 1 else "")
    if _wide(target):
        program.core.convolution64(*operands)
        return True
    weights = batch_weights(program, target)
    moments = program.core.convolution(*operands, weights is not None,
                                       program.whole(weights[0]) if weights else -1)
    if moments >= 0:
        program.moments[target] = moments, weights
    return True


def _convolution_pool(program, node: Node, bias: int, window, pool: Node):
    """A convolution and the pooling of it, in one step where the core can."""
    x, kernel = map(program.array, node.inputs)
    (between,), (out, indices) = pool.inputs, pool.outputs
    groups = node.settings["groups"]
    if _whole_pairs(between.shape, out.shape) and program.core.convolution_pool(
            x, kernel, program.backend.core.Array(-1, list(between.shape)), program.result(out),
            program.out(indices).value if program.is_read(indices) else -1, bias, window, groups,
            pool.settings["relu"]):
        return True
    program.core.convolution(x, kernel, program.result(between), bias, window, groups, "", False,
                             -1)
    return _max_pool(program, pool)


def _convolution_data_gradient(program, node: Node):
    g, kernel = node.inputs
    out = node.outputs[0]
    if out.dtype.name not in FLOATS:
        return None
    window = _window(program, out.shape[1:-1], kernel.shape[:-2], node.settings)
    core = program.core
    gradient = core.convolution64_data_gradient if _wide(out) else core.convolution_data_gradient
    gradient(program.array(g), program.array(kernel), program.result(out), window,
             node.settings["groups"])
    return True


def _convolution_kernel_gradient(program, node: Node, *fused: Node):
    x, g = node.inputs
    out = node.outputs[0]
    if out.dtype.name not in FLOATS:
        return None
    window = _window(program, x.shape[1:-1], out.shape[:-2], node.settings)
    bias = program.out(fused[0].outputs[0]).value if fused else -1
    if _wide(out):
        program.core.convolution64_kernel_gradient(program.array(x), program.array(g),
                                                   program.result(out), window,
                                                   node.settings["groups"])
        return True
    program.core.convolution_kernel_gradient(program.array(x), program.array(g),
                                             program.result(out), bias, window,
                                             node.settings["groups"])
    return True


def _max_pool(program, node: Node):
    x, read = node.inputs[0], program.is_read(node.outputs[1])
    if x.dtype.name not in FLOATS or read and node.specs[1].dtype != "uint8":
        return None
    size = _sizes(node.settings["pool_size"], x.ndim - 2)
    window = _window(program, x.shape[1:-1], size, node.settings, dilated=False)
    out, indices = node.outputs
    program.core.max_pool(program.array(x), program.result(out),
                          program.out(indices).value if read else -1, window, list(size),
                          node.settings["relu"])
    return True


def _max_pool_gradient(program, node: Node, *fused: Node):
    g, indices = node.inputs
    if fused and _pool_kernel_gradient(program, node, *fused):
        return True
    out = node.outputs[0]
    if g.dtype.name not in FLOATS or indices.dtype != "uint8":
        return None
    size = _sizes(node.settings["pool_size"], g.ndim - 2)
    window = _window(program, out.shape[1:-1], size, node.settings, dilated=False)
    program.core.max_pool_gradient(program.array(g), program.whole(indices),
                                   program.result(out), window, list(size))
    return _convolution_kernel_gradient(program, *fused) if fused else True


def _whole_pairs(image, pooled) -> bool:
    """Whether no window of two by two pixels reaches over the edge."""
    return all(2 * n <= m for m, n in zip(image[1:-1], pooled[1:-1]))


def _pool_kernel_gradient(program, node: Node, kernel: Node, *bias: Node) -> bool:
    """The kernel's gradient straight from the pooled gradient, if the core can."""
    (g, indices), x, out = node.inputs, kernel.inputs[0], kernel.outputs[0]
    window = _window(program, x.shape[1:-1], out.shape[:-2], kernel.settings)
    fits = program.backend.core.few_channels_fit
    if not _whole_pairs(node.outputs[0].shape, g.shape) or indices.dtype != "uint8" or \
            program.stored(x) != "float32" or \
            not fits(program.result(out), window, kernel.settings["groups"], 2):
        return False
    program.core.few_channels_kernel_gradient(
        program.array(x), program.array(g), program.whole(indices), program.result(out),
        program.out(bias[0].outputs[0]).value if bias else -1, window, 2)
    return True


def _average_pool(program, node: Node):
    x, out = node.inputs[0], node.outputs[0]
    if x.dtype.name not in FLOATS:
        return None
    size = _sizes(node.settings["pool_size"], x.ndim - 2)
    window = _window(program, x.shape[1:-1], size, node.settings, dilated=False)
    program.core.average_pool(program.array(x), program.result(out), window, list(size))
    return True


def _average_pool_gradient(program, node: Node):
    g, out = node.inputs[0], node.outputs[0]
    if g.dtype.name not in FLOATS:
        return None
    size = _sizes(node.settings["pool_size"], g.ndim - 2)
    window = _window(program, out.shape[1:-1], size, node.settings, dilated=False)
    program.core.average_pool_gradient(program.array(g), program.result(out), window, list(size))
    return True


def _sizes(value, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


# ---- reductions --------------------------------------------------------------------------------

def _reduce(kind: str, mean: bool = False):
    def emit(program, node: Node):
        x, out = node.inputs[0], node.outputs[0]
        if x.dtype.name not in FLOATS or out.dtype != x.dtype:
            return None
        runs = _runs(x.shape, axes_of(node.settings["axis"], x.ndim))
        value, shape = program.whole(x), x.shape
        for i, run in enumerate(runs, 1):       # axes that stand side by side at a time, last first
            sizes = [math.prod(part) for part in (shape[:run.start], shape[run.start:run.stop],
                                                  shape[run.stop:])]
            shape = shape[:run.start] + shape[run.stop:]
            target = program.out(out) if i == len(runs) else program.new(Spec(shape, x.dtype))
            scale = out.spec.size / x.spec.size if mean and i == len(runs) else 1.0
            program.core.reduce(kind, value, target.value, *sizes, scale, -1)
            value = target.value
        return True
    return emit


def _runs(shape, axes) -> list[slice]:
    """The axes in stretches that stand side by side, the last first; lengths of 1 go with any."""
    runs: list[slice] = []
    for axis in reversed(range(len(shape))):
        if axis not in axes or shape[axis] == 1:
            continue
        last = runs[-1] if runs else None
        if last and math.prod(shape[axis + 1:last.start]) == 1:
            runs[-1] = slice(axis, last.stop)
        else:
            runs.append(slice(axis, axis + 1))
    return runs or [slice(len(shape), len(shape))]


def _rows(kind: str):
    def emit(program, node: Node):
        x = node.inputs[0]
        axes = axes_of(node.settings["axis"], x.ndim)
        if x.dtype.name not in FLOATS or not axes or axes != tuple(range(axes[0], x.ndim)):
            return None
        n = math.prod(x.shape[axes[0]:])
        program.core.rows(kind, program.whole(x), program.out(node.outputs[0]).value,
                          x.spec.size // n, n)
        return True
    return emit


# ---- losses, gathering -------------------------------------------------------------------------

def _cross_entropy(program, node: Node):
    logits, labels = node.inputs
    if labels.dtype != "int64" or logits.dtype.name not in FLOATS:
        return None
    n = logits.shape[-1]
    program.core.cross_entropy(program.whole(logits), program.whole(labels),
                               program.out(node.outputs[0]).value, logits.spec.size // n, n,
                               node.settings["label_smoothing"])
    return True


def _cross_entropy_gradient(program, node: Node):
    g, logits, labels = node.inputs
    if labels.dtype != "int64" or logits.dtype.name not in FLOATS:
        return None
    n = logits.shape[-1]
    program.core.cross_entropy_gradient(program.whole(g), program.whole(logits),
                                        program.whole(labels),
                                        program.out(node.outputs[0]).value,
                                        logits.spec.size // n, n,
                                        node.settings["label_smoothing"])
    return True


def _gather(program, node: Node):
    if left_out(program, node):
        return True
    x, indices = node.inputs
    if indices.dtype != "int64" or node.settings["axis"] != 0:
        return None
    program.core.gather(program.whole(x), program.whole(indices),
                        program.out(node.outputs[0]).value, indices.spec.size, x.shape[0],
                        x.spec.size // x.shape[0])
    return True


def _scatter_add(program, node: Node):
    if is_table_gradient(program, node):
        return True
    indices, values, _ = node.inputs
    out = node.outputs[0]
    if indices.dtype != "int64" or out.dtype.name not in FLOATS or node.settings["axis"] != 0:
        return None
    program.core.scatter_add(program.whole(indices), program.whole(values),
                             program.out(out).value, indices.spec.size, out.shape[0],
                             out.spec.size // out.shape[0])
    return True


EMIT = {
    "matmul": _matmul, "convolution": _convolution,
    "convolution_data_gradient": _convolution_data_gradient,
    "convolution_kernel_gradient": _convolution_kernel_gradient,
    "max_pool": _max_pool, "max_pool_gradient": _max_pool_gradient,
    "average_pool": _average_pool, "average_pool_gradient": _average_pool_gradient,
    "sum": _reduce("sum"), "mean": _reduce("sum", mean=True), "max": _reduce("max"),
    "min": _reduce("min"),
    "softmax": _rows("softmax"), "log_softmax": _rows("log_softmax"),
    "logsumexp": _rows("logsumexp"),
    "argmax": _rows("argmax"), "argmin": _rows("argmin"),
    "softmax_cross_entropy": _cross_entropy,
    "softmax_cross_entropy_gradient": _cross_entropy_gradient,
    "gather": _gather, "scatter_add": _scatter_add,
    **TABLES, **MOVING, **NORMALIZATION, **RANDOM, **RECURRENT,
}
