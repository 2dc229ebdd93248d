"""Convolution and pooling: kernels of our own, or a library's calls where a device has them."""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..lowering.view import View
from ..ops.sliding import sliding
from ..tensor import Node, Tensor
from .chain import emit_copy
from .columns import THREADS, block, flat, parts
from .device import Pointer, Table
from .emit_reduce import queue_reduce, sizes
from .expression import FLOATS, HALVES, STORED, TYPES

NONE = np.uint64(0)            # an address that is not given
TILE = 64                      # rows and columns of results that a block makes
FEW = 4                        # channels for which there is a direct kernel
SHARED = 48 << 10              # bytes of shared memory that every GPU gives a block
ENOUGH = 264                   # blocks that fill a GPU
# Whose results may stay in two bytes, and as what a library is asked; a kernel's gradient is copied
# anyway.
UNFUSED = {"convolution": {"bias": False, "activation": ""}, "convolution_data_gradient": {}}


def _axes(size, window, settings, dilated: bool):
    return sliding(size, window, strides=settings["strides"] or tuple(window),
                   padding=settings["padding"],
                   **({"dilation": settings["dilation"]} if dilated else {}))


def _windows(axes) -> Table:
    """The struct ``Windows`` of ``kernels/windows.cuh``."""
    missing = 3 - len(axes)
    fields = (("size", 1), ("window", 1), ("stride", 1), ("dilation", 1), ("low", 0), ("out", 1))
    return Table(tuple(n for name, none in fields
                       for n in ((none,) * missing + tuple(getattr(a, name) for a in axes))))


# ---- pooling -----------------------------------------------------------------------------------

def _pool_axes(size, node: Node):
    pool = node.settings["pool_size"]
    return _axes(size, (pool,) * len(size) if isinstance(pool, int) else tuple(pool),
                 node.settings, False)


def _pool(name: str, spread: bool = False):
    """A kernel over the results of pooling, or over the points that its gradient spreads to."""
    def emit(program, node: Node):
        x, out = node.inputs[0], node.outputs[0]
        numbers = next((t.dtype.name for t in (*node.inputs[1:], *node.outputs[1:])), "uint8")
        if x.dtype.name not in FLOATS or numbers not in TYPES:
            return None
        size = (out if spread else x).shape[1:-1]
        given = [program.read(t) for t in node.inputs]
        written = [program.write(out)]
        if len(node.outputs) > 1:
            used = program.is_read(node.outputs[1])
            written.append(program.write(node.outputs[1]) if used else NONE)
        after = [np.int32(node.settings["relu"])] if "relu" in node.settings else []
        program.kernel("pool.cu", name, *flat(out.spec.size),
                       [_windows(_pool_axes(size, node)), *given, *written,
                        *sizes(x.shape[0], x.shape[-1]), *after],
                       T=TYPES[x.dtype.name], N=TYPES[numbers])
        return True
    return emit


# ---- convolution -------------------------------------------------------------------------------

class Sizes(NamedTuple):
    """A convolution's axes; its batch, channels, filters and groups; what of it has own kernels."""
    axes: list
    shape: tuple[int, int, int, int]
    thin: bool                 # one channel in each of several groups
    few: bool                  # so few channels that a direct kernel is faster


def _sizes(node: Node) -> Sizes:
    """Those of a convolution or of either of its gradients."""
    first, second, out = *node.inputs[:2], node.outputs[0]
    x, kernel, y = {"convolution": (first, second, out),
                    "convolution_data_gradient": (out, second, first),
                    "convolution_kernel_gradient": (first, out, second)}[node.op.name]
    groups, channels = node.settings["groups"], x.shape[-1]
    return Sizes(_axes(x.shape[1:-1], kernel.shape[:-2], node.settings, True),
                 (x.shape[0], channels, y.shape[-1], groups),
                 groups > 1 and kernel.shape[-2] == 1,
                 node.op.name == "convolution" and channels <= FEW and groups == 1 and
                 kernel.spec.nbytes <= SHARED)


def _library(program, node: Node, **fused):
    """A function that queues a library's call, whose result has the type of its factors."""
    found = _sizes(node)
    if found.thin or found.few:
        return None
    return program.library(node.op.name, axes=found.axes, shape=found.shape,
                           dtype=program.stored(node.inputs[0]), tf32=program.backend.tf32, **fused)


def makes_halves(program, node: Node) -> bool:
    """Whether a library computes a convolution of factors in two bytes, and writes two."""
    return node.op.name in UNFUSED and program.stored(node.inputs[0]) in HALVES and \
        bool(node.specs[0].size) and _library(program, node, **UNFUSED[node.op.name]) is not None


def _write(program, call, factors: list[Pointer], kind: str, out: Tensor, *bias) -> None:
    """Queue a library's call; what it writes in two bytes is widened for those who cannot."""
    if program.stored(out) == kind:
        call(*factors, program.write(out), *bias)
        return
    fresh = View.whole(program.scratch(out.shape, kind), out.shape)
    call(*factors, Pointer(fresh.value, 0, True), *bias)
    emit_copy(program, fresh, program.out(out), kind, out.dtype.name)


def _turned(program, kernel: Tensor) -> Pointer:
    """A copy of a kernel in the order of axes that libraries read."""
    view = _filters_first(program.views[kernel])
    fresh = View.whole(program.scratch(view.shape, program.stored(kernel)), view.shape)
    emit_copy(program, view, fresh, program.stored(kernel))
    return Pointer(fresh.value)


def _filters_first(view: View) -> View:
    """A kernel in the order of axes that libraries have."""
    return view._replace(shape=(view.shape[-1], *view.shape[:-1]),
                         strides=(view.strides[-1], *view.strides[:-1]))


def _filters_last(view: View) -> View:
    """A library's kernel in the order of axes that ops have."""
    return view._replace(shape=(*view.shape[1:], view.shape[0]),
                         strides=(*view.strides[1:], view.strides[0]))


def _tiles(rows: int, columns: int, layers: int) -> tuple[tuple, tuple]:
    """Grid and block of kernels that make a tile of results per block."""
    return (-(-rows // TILE), -(-columns // TILE), layers), (16, 16, 1)


def _kinds(program, node: Node) -> dict[str, str]:
    """Element types of the result and of factors, for kernels."""
    return {"T": TYPES[node.specs[0].dtype.name], "F": STORED[program.stored(node.inputs[0])]}


def _convolution(program, node: Node, *fused: Node):
    """The convolution, with a bias and ReLU behind it."""
    x, kernel = node.inputs
    out = (fused[-1] if fused else node).outputs[0]
    if out.dtype.name not in FLOATS:
        return None
    axes, shape, thin, few = _sizes(node)
    (batch, channels, filters, groups), relu = shape, len(fused) > 1
    bias = program.read(fused[0].inputs[1]) if fused else NONE
    call = _library(program, node, bias=bool(fused), activation="relu" if relu else "")
    if call is not None:
        _write(program, call, [program.read(x), _turned(program, kernel)], program.stored(x), out,
               *([bias] if fused else []))
        return True
    arrays = [program.read(x), program.read(kernel)]
    windows, kinds = _windows(axes), _kinds(program, node)
    after = np.int32(relu)
    direct = [windows, *arrays, bias, program.write(out), *sizes(batch, channels, filters), after]
    if thin:
        program.kernel("direct_convolution.cu", "depthwise", *flat(out.spec.size), direct, **kinds)
    elif few:
        x_threads = min(1 << (filters - 1).bit_length(), 32)
        y_threads = THREADS // x_threads
        rows = out.spec.size // filters
        program.kernel("direct_convolution.cu", "convolution_few_channels",
                       (min(-(-rows // y_threads), 8 * ENOUGH), 1, 1), (x_threads, y_threads, 1),
                       direct, shared=kernel.spec.nbytes, **kinds)
    else:
        program.kernel("convolution.cu", "convolution",
                       *_tiles(out.spec.size // filters, filters // groups, groups),
                       [windows, Table(shape), *arrays, bias,
                        program.write(out), after], **kinds)
    return True


def _data_gradient(program, node: Node):
    g, kernel = node.inputs
    out = node.outputs[0]
    if out.dtype.name not in FLOATS:
        return None
    axes, shape, thin, _ = _sizes(node)
    (batch, channels, filters, groups), kinds = shape, _kinds(program, node)
    call = _library(program, node)
    if call is not None:
        _write(program, call, [program.read(g), _turned(program, kernel)], program.stored(g), out)
        return True
    windows = _windows(axes)
    arrays = [program.read(g), program.read(kernel), program.write(out)]
    if thin:
        program.kernel("direct_convolution.cu", "depthwise_data_gradient", *flat(out.spec.size),
                       [windows, *arrays, *sizes(batch, channels, filters)], **kinds)
    else:
        program.kernel("convolution.cu", "convolution_data_gradient",
                       *_tiles(out.spec.size // channels, channels // groups, groups),
                       [windows, Table(shape), *arrays], **kinds)
    return True


def _kernel_gradient(program, node: Node):
    """Spots in parts, each with a sum of its own, where the kernel alone makes few blocks."""
    x, g = node.inputs
    out, dtype = node.outputs[0], node.outputs[0].dtype.name
    if dtype not in FLOATS:
        return None
    axes, shape, thin, _ = _sizes(node)
    (batch, channels, filters, groups), kinds = shape, _kinds(program, node)
    call = _library(program, node)
    if call is not None:
        kind, turned = program.stored(x), (filters, *out.shape[:-1])
        fresh = View.whole(program.scratch(turned, kind), turned)
        call(program.read(x), program.read(g), Pointer(fresh.value, 0, True))
        emit_copy(program, _filters_last(fresh), program.out(out), kind, dtype)
        return True
    arrays = [program.read(x), program.read(g)]
    windows = _windows(axes)
    taps, spots = math.prod(out.shape[:-2]), g.spec.size // filters
    if thin:
        grid, threads = block(taps, spots, filters)
        pieces = parts(spots, grid[0])
        columns = (taps, pieces, filters)
    else:
        rows = taps * channels // groups
        grid, threads = _tiles(rows, filters // groups, groups)
        pieces = max(1, min(spots // 256, ENOUGH // math.prod(grid)))
        columns = (1, pieces, out.spec.size)
    to = program.write(out) if pieces == 1 else \
        Pointer(program.scratch(columns, dtype), 0, True)
    each = np.int64(-(-spots // pieces))
    if thin:
        program.kernel("direct_convolution.cu", "depthwise_kernel_gradient",
                       (grid[0], pieces, 1), threads,
                       [windows, *arrays, to, *sizes(batch, channels, filters), each], **kinds)
    else:
        program.kernel("convolution.cu", "convolution_kernel_gradient",
                       (*grid[:2], groups * pieces), threads,
                       [windows, Table(shape), *arrays, to, each],
                       **kinds)
    if pieces > 1:
        queue_reduce(program, "sum", to.value, program.write(out), columns, dtype, dtype)
    return True


WINDOWS = {"max_pool": _pool("max_pool"), "max_pool_gradient": _pool("max_pool_gradient", True),
           "max_pool_select": _pool("max_pool_select"), "average_pool": _pool("average_pool"),
           "average_pool_gradient": _pool("average_pool_gradient", True),
           "convolution": _convolution, "convolution_data_gradient": _data_gradient,
           "convolution_kernel_gradient": _kernel_gradient}
