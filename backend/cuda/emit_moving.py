"""Ops that move elements: copies with strides where they can be, positions elsewhere."""
from __future__ import annotations

import math

import numpy as np

from ..lowering.view import View, contiguous
from ..lowering.views import part
from ..ops.shape import tupled
from ..spec import one_axis
from ..tensor import Node
from .chain import Operand, emit_copy, launch
from .columns import THREADS, about, block, flat
from .device import Pointer
from .draws import drawn
from .emit_reduce import sizes
from .expression import FLOATS, TYPES, number

FEW = 256              # indices that every row looks through by itself
COUNTS = 1 << 22       # numbers of the table in which rows are counted
CHUNKS = 256


def emit_fill(program, to: View, value: float, dtype: str) -> None:
    """Queue the writing of one number everywhere."""
    launch(program, "chain_fill", to.shape, [Operand("out0", to, dtype, True)],
           [f"    @out0@ = {number(float(value), dtype)};"], [])


def _known(node: Node) -> bool:
    return all(t.dtype.name in TYPES for t in (*node.inputs, *node.outputs))


# ---- joining and parting -----------------------------------------------------------------------

def _copy(program, t, to: View) -> None:
    """Copy a tensor to a part of another."""
    if t.spec.size:
        emit_copy(program, program.views[t], to, t.dtype.name)


def _concatenate(program, node: Node):
    target = node.outputs[0]
    axis, start, out = one_axis(node.settings["axis"], target.ndim), 0, program.out(target)
    for t in node.inputs:
        starts = [start if i == axis else 0 for i in range(target.ndim)]
        _copy(program, t, part(out, starts, t.shape))
        start += t.shape[axis]
    return True


def _stack(program, node: Node):
    target = node.outputs[0]
    axis, out = one_axis(node.settings["axis"], target.ndim), program.out(target)
    for i, t in enumerate(node.inputs):
        _copy(program, t, View(out.value, out.offset + i * out.strides[axis], t.shape,
                               (*out.strides[:axis], *out.strides[axis + 1:])))
    return True


def _pad(program, node: Node):
    x, target = node.inputs[0], node.outputs[0]
    out = program.out(target)
    if any(map(sum, node.settings["widths"])):
        emit_fill(program, out, node.settings["value"], target.dtype.name)
    _copy(program, x, part(out, [low for low, _ in node.settings["widths"]], x.shape))
    return True


def _slice_gradient(program, node: Node):
    g, target = node.inputs[0], node.outputs[0]
    out = program.out(target)
    emit_fill(program, out, 0.0, target.dtype.name)
    starts, steps = [0] * target.ndim, [1] * target.ndim
    given = node.settings["step"] or (None,) * len(node.settings["start"])
    for i, bounds in enumerate(zip(node.settings["start"], node.settings["stop"], given)):
        starts[i], _, steps[i] = slice(*bounds).indices(target.shape[i])
    _copy(program, g, part(out, starts, g.shape, steps))
    return True


def _tile(program, node: Node):
    x, target = node.inputs[0], node.outputs[0]
    repeats = tupled(node.settings["repeats"])
    view = program.views[x]
    shape = tuple(n for pair in zip(repeats, view.shape) for n in pair)
    source = view._replace(shape=shape, strides=tuple(n for s in view.strides for n in (0, s)))
    emit_copy(program, source, program.out(target)._replace(shape=shape,
                                                            strides=contiguous(shape)),
              target.dtype.name)
    return True


# ---- positions ---------------------------------------------------------------------------------

def _outside(program, n: int, indices) -> list:
    return program.complaint(IndexError, f"an index is out of range for an axis of {n}", indices)


def _positions(program, name: str, indices, x: Pointer, out, count: int, outer: int, n: int,
               m: int, inner: int, dtype: str, x_first: bool) -> None:
    arrays = [x, program.read(indices)] if x_first else [program.read(indices), x]
    program.kernel("positions.cu", name, *flat(count),
                   [*arrays, program.write(out), *sizes(outer, n, m, inner),
                    *_outside(program, n, indices)], T=TYPES[dtype], I=TYPES[indices.dtype.name])


def _gather(program, node: Node):
    x, indices = node.inputs
    if not _known(node):
        return None
    outer, n, inner = about(x.shape, node.settings["axis"])
    out = node.outputs[0]
    _positions(program, "gather", indices, program.read(x), out, out.spec.size, outer, n,
               indices.spec.size, inner, x.dtype.name, True)
    return True


def _take_along(program, node: Node):
    x, indices = node.inputs
    if not _known(node):
        return None
    outer, n, inner = about(x.shape, node.settings["axis"])
    out, m = node.outputs[0], indices.shape[one_axis(node.settings["axis"], x.ndim)]
    _positions(program, "take_along", indices, program.read(x), out, out.spec.size, outer, n, m,
               inner, x.dtype.name, True)
    return True


def _put_along(program, node: Node):
    indices, values, _ = node.inputs
    out = node.outputs[0]
    if not _known(node):
        return None
    outer, n, inner = about(out.shape, node.settings["axis"])
    m = indices.shape[one_axis(node.settings["axis"], out.ndim)]
    _positions(program, "put_along", indices, program.read(values), out, out.spec.size, outer, n,
               m, inner, out.dtype.name, False)
    return True


def _scatter_add(program, node: Node):
    """Few indices are looked through by every row; many are sorted by row first."""
    indices, values, _ = node.inputs
    out = node.outputs[0]
    if not _known(node):
        return None
    outer, n, inner = about(out.shape, node.settings["axis"])
    m, dtype = indices.spec.size, out.dtype.name
    if m <= FEW:
        _positions(program, "scatter_few", indices, program.read(values), out, out.spec.size,
                   outer, n, m, inner, dtype, False)
        return True
    kinds = {"T": TYPES[dtype], "I": TYPES[indices.dtype.name]}
    ends, order, chunks = sorted_rows(program, indices, n, kinds)
    grid, threads = block(outer * n, max(m // n, 1), inner)
    program.kernel("positions.cu", "scatter_rows", grid, threads,
                   [Pointer(ends), Pointer(order), program.read(values), program.write(out),
                    *sizes(outer, n, m, inner), np.int32(chunks)], **kinds)
    return True


def sorted_rows(program, indices, n: int, kinds) -> tuple[int, int, int]:
    """Values with the end of each row's indices and their numbers in order, and the chunks."""
    m = indices.spec.size
    chunks = max(1, min(CHUNKS, COUNTS // n, m // 32))
    each = -(-m // chunks)
    counts = program.scratch((n * chunks,), "int32")
    order = program.scratch((m,), "int32")
    emit_fill(program, View.whole(counts, (n * chunks,)), 0, "int32")
    program.kernel("positions.cu", "count_rows", *flat(chunks),
                   [program.read(indices), Pointer(counts, 0, True), *sizes(n, m),
                    np.int32(chunks), np.int64(each), *_outside(program, n, indices)], **kinds)
    program.kernel("positions.cu", "starts_of_rows", (1, 1, 1), (THREADS, 1, 1),
                   [Pointer(counts, 0, True), np.int64(n * chunks)], **kinds)
    program.kernel("positions.cu", "order_of_rows", *flat(chunks),
                   [program.read(indices), Pointer(counts, 0, True), Pointer(order, 0, True),
                    *sizes(n, m), np.int32(chunks), np.int64(each)], **kinds)
    return counts, order, chunks


def _one_hot(program, node: Node):
    indices, out = node.inputs[0], node.outputs[0]
    if not _known(node):
        return None
    program.kernel("sequences.cu", "one_hot", *flat(out.spec.size),
                   [program.read(indices), program.write(out),
                    *sizes(indices.spec.size, node.settings["depth"])],
                   T=TYPES[out.dtype.name], I=TYPES[indices.dtype.name])
    return True


def _sequence_mask(program, node: Node):
    lengths, out = node.inputs[1], node.outputs[0]
    if lengths.dtype.name not in TYPES:
        return None
    program.kernel("sequences.cu", "sequence_mask", *flat(out.spec.size),
                   [program.read(lengths), program.write(out), *sizes(*out.shape)],
                   T=TYPES["bool"], I=TYPES[lengths.dtype.name])
    return True


def _reverse_sequence(program, node: Node):
    x, lengths = node.inputs
    if not _known(node):
        return None
    batch, steps, *rest = x.shape
    program.kernel("sequences.cu", "reverse_sequence", *flat(x.spec.size),
                   [program.read(x), program.read(lengths), program.write(node.outputs[0]),
                    *sizes(batch, steps, math.prod(rest))],
                   T=TYPES[x.dtype.name], I=TYPES[lengths.dtype.name])
    return True


# ---- masks that are shared along axes ----------------------------------------------------------

def _dropout_mask(program, node: Node):
    """Drawn once, and seen along the shared axes; other masks are drawn inside chains."""
    x, out = node.inputs[0], node.outputs[0]
    if x.dtype.name not in FLOATS:
        return None
    shared = {axis % x.ndim for axis in node.settings["shared_axes"]}
    shape = tuple(1 if axis in shared else n for axis, n in enumerate(x.shape))
    view = program.new(out.spec.like(*shape))
    program.views[out] = view.broadcast(shape, out.shape)
    counters = [Operand(f"in{i}", View(program.whole(t), 0, shape, (0,) * len(shape)), "int64")
                for i, t in enumerate(node.inputs[-3:])]
    text = drawn(node, [f"@in{i}@" for i in range(3)], shape)
    launch(program, "chain_dropout_mask", shape,
           [*counters, Operand("out3", view, out.dtype.name, True)], [f"    @out3@ = {text};"], [])
    return True


MOVING = {"concatenate": _concatenate, "stack": _stack, "pad": _pad,
          "slice_gradient": _slice_gradient, "tile": _tile, "gather": _gather,
          "scatter_add": _scatter_add, "take_along": _take_along, "put_along": _put_along,
          "one_hot": _one_hot, "sequence_mask": _sequence_mask,
          "reverse_sequence": _reverse_sequence, "dropout_mask": _dropout_mask}
