"""Reductions: sums, extremes, positions, variances, the largest entries and cumulative sums."""
from __future__ import annotations

import numpy as np

from ..spec import axes_of
from ..tensor import Node
from .columns import about, arranged, block, parts, turned
from .device import Pointer
from .expression import FLOATS, STORED, TYPES


def scalar(value: float, dtype: str):
    """A number as a kernel takes it."""
    return np.dtype(dtype).type(value)


def sizes(*numbers: int) -> list[np.int64]:
    """Whole numbers as kernels take them."""
    return [np.int64(n) for n in numbers]


def queue_reduce(program, how: str, x: int, out: Pointer, columns, dtype: str, into: str,
                 scale: float = 1.0) -> None:
    """Reduce the middle axis of a value, in two launches where few columns are long."""
    outer, n, inner = columns
    (blocks, *_), threads = block(outer, n, inner)
    pieces = parts(n, blocks)
    each, kernel, macros = -(-n // pieces), f"reduce_{how}", {"T": TYPES[dtype], "A": TYPES[into]}
    one = scalar(1, into)
    last = scalar(scale, into)
    if pieces == 1:
        program.kernel("reduce.cu", kernel, (blocks, 1, 1), threads,
                       [Pointer(x), out, *sizes(outer, n, inner, n), last], **macros)
        return
    partial = program.scratch((outer, pieces, inner), into)
    program.kernel("reduce.cu", kernel, (blocks, pieces, 1), threads,
                   [Pointer(x), Pointer(partial, 0, True), *sizes(outer, n, inner, each), one],
                   **macros)
    queue_reduce(program, how, partial, out, (outer, pieces, inner), into, into, scale)


def _reduce(how: str, mean: bool = False):
    def emit(program, node: Node):
        x, out = node.inputs[0], node.outputs[0]
        dtype, into = x.dtype.name, out.dtype.name
        if dtype not in TYPES or into not in TYPES:
            return None
        value, columns, _ = arranged(program, x, axes_of(node.settings["axis"], x.ndim))
        queue_reduce(program, how, value, program.write(out), columns, dtype, into,
                     1.0 / columns[1] if mean else 1.0)
        return True
    return emit


def _var(program, node: Node):
    x, out = node.inputs[0], node.outputs[0]
    if x.dtype.name not in FLOATS:
        return None
    value, columns, _ = arranged(program, x, axes_of(node.settings["axis"], x.ndim))
    kind = TYPES[x.dtype.name]
    program.kernel("weighted.cu", "variance", *block(*columns),
                   [Pointer(value), program.write(out), *sizes(*columns)], T=kind, F=kind)
    return True


def _lead(axes: tuple[int, ...]) -> bool:
    """Whether axes are the first ones."""
    return axes == tuple(range(len(axes)))


def reads_halves(node: Node) -> bool:
    """Whether a kernel widens what it reduces: those of the statistics of a batch do."""
    return node.op.name == "batch_squares" or node.op.name == "batch_sum" and _has_kernel(node) \
        and _lead(axes_of(node.settings["axes"], node.inputs[0].ndim))


def _has_kernel(node: Node) -> bool:
    """Whether a sum over samples is one of floats in their own type."""
    x = node.inputs[0]
    return x.dtype.name in FLOATS and node.specs[0].dtype == x.dtype


def _batch_sum(program, node: Node):
    """Leading axes: rows of what is kept, each weighted by its sample."""
    x, *weights = node.inputs
    axes = axes_of(node.settings["axes"], x.ndim)
    if not _has_kernel(node):
        return None
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    value = program.whole(x) if _lead(axes) else turned(program, x, (*axes, *kept))
    _weighted(program, value, None, weights, node, x.shape[0])
    return True


def _batch_squares(program, node: Node):
    x, mean, *weights = node.inputs
    if x.dtype.name not in FLOATS:
        return None
    _weighted(program, program.whole(x), mean, weights, node, x.shape[0])
    return True


def _weighted(program, value: int, mean, weights, node: Node, batch: int) -> None:
    out = node.outputs[0]
    inner = out.spec.size
    n = node.inputs[0].spec.size // inner
    given = [program.read(mean) if mean is not None else np.uint64(0),
             program.read(weights[0]) if weights else np.uint64(0)]
    (blocks, *_), threads = block(1, n, inner)
    pieces = parts(n, blocks)
    to = program.write(out) if pieces == 1 else \
        Pointer(program.scratch((pieces, inner), out.dtype.name), 0, True)
    program.kernel("weighted.cu", "weighted_sums", (blocks, pieces, 1), threads,
                   [Pointer(value), *given, to, *sizes(n, inner, n // batch, -(-n // pieces))],
                   T=TYPES[out.dtype.name], F=STORED[program.stored(node.inputs[0])])
    if pieces > 1:
        queue_reduce(program, "sum", to.value, program.write(out), (1, pieces, inner),
                     out.dtype.name, out.dtype.name)


# ---- positions and order -----------------------------------------------------------------------

def _position(name: str):
    def emit(program, node: Node):
        x, axis = node.inputs[0], node.settings["axis"]
        if x.dtype.name not in TYPES:
            return None
        columns = (1, x.spec.size, 1) if axis is None else about(x.shape, axis)
        program.kernel("order.cu", name, *block(*columns),
                       [program.read(x), program.write(node.outputs[0]), *sizes(*columns)],
                       T=TYPES[x.dtype.name], A=TYPES[x.dtype.name])
        return True
    return emit


def _top_k(program, node: Node):
    x = node.inputs[0]
    n = x.shape[-1]
    if x.dtype.name not in TYPES:
        return None
    rows = x.spec.size // n
    program.kernel("order.cu", "top_k", *block(rows, n, 1),
                   [program.read(x), *map(program.write, node.outputs),
                    *sizes(rows, n, node.settings["k"])], T=TYPES[x.dtype.name],
                   A=TYPES[x.dtype.name])
    return True


def _cumsum(program, node: Node):
    x, out = node.inputs[0], node.outputs[0]
    if x.dtype.name not in TYPES or out.dtype.name not in TYPES:
        return None
    columns = about(x.shape, node.settings["axis"])
    program.kernel("order.cu", "cumulative_sums", *block(*columns),
                   [program.read(x), program.write(out), *sizes(*columns),
                    np.int32(node.settings["reverse"])],
                   T=TYPES[x.dtype.name], A=TYPES[out.dtype.name])
    return True


# ---- what shapes alone decide ------------------------------------------------------------------

def _count(program, node: Node):
    x, out = node.inputs[0], node.outputs[0]
    n = int(np.prod([x.shape[a] for a in axes_of(node.settings["axis"], x.ndim)], dtype=np.int64))
    program.views[out] = program.constant(np.full(out.shape, n, out.dtype))
    return True


def _row_offset(program, node: Node):
    program.views[node.outputs[0]] = program.constant(np.zeros((), np.int64))
    return True


def _full_lengths(program, node: Node):
    out = node.outputs[0]
    number = program.constant(np.full((), node.inputs[0].shape[1], out.dtype))
    program.views[out] = number.broadcast((), out.shape)
    return True


REDUCTIONS = {
    "sum": _reduce("sum"), "mean": _reduce("sum", mean=True), "prod": _reduce("prod"),
    "max": _reduce("max"), "min": _reduce("min"), "all": _reduce("min"), "any": _reduce("max"),
    "var": _var, "batch_sum": _batch_sum, "batch_squares": _batch_squares,
    "argmax": _position("argmax"), "argmin": _position("argmin"), "top_k": _top_k,
    "cumsum": _cumsum, "count": _count, "row_offset": _row_offset,
    "full_lengths": _full_lengths}
