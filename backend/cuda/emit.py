"""What has a kernel or a library's call, op by op: each entry queues a node, or returns None."""
from __future__ import annotations

import math
from typing import Collection

from ..lowering.halves import CONVOLUTIONS
from ..lowering.view import View, contiguous
from ..tensor import Node
from .device import Pointer
from .emit_moving import MOVING
from .emit_reduce import REDUCTIONS
from .emit_rnn import RECURRENT
from .emit_rows import ROWS
from .emit_windows import WINDOWS
from .expression import FLOATS, itemsize

# ---- products ----------------------------------------------------------------------------------

def _matmul(program, node: Node, *fused: Node):
    x, y = node.inputs
    target = (fused[-1] if fused else node).outputs[0]
    dtype = target.dtype.name
    if dtype not in FLOATS:
        return None
    transposed = node.settings["transpose_x"], node.settings["transpose_y"]
    views = [program.views[t] for t in (x, y)]
    if x.ndim > 2 and y.ndim == 2 and not transposed[0]:       # one product of all rows
        rows = math.prod(x.shape[:-1])
        views[0] = View.whole(program.whole(x), (rows, x.shape[-1]))
        shape = (rows, target.shape[-1])
    else:
        shape = target.shape
    views = [_turned(v) if t else v for v, t in zip(views, transposed)]
    views = [_batched(_usable(program, v, t, turned), shape)
             for v, t, turned in zip(views, (x, y), transposed)]
    out = program.out(target)._replace(shape=shape, strides=contiguous(shape))
    factors = program.stored(x)
    arguments = [Pointer(v.value, v.offset * itemsize(kind), v is out)
                 for v, kind in ((views[0], factors), (views[1], factors), (out, dtype))]
    if fused:
        arguments.append(program.read(fused[0].inputs[1]))
    program.call("matmul", arguments, dtype=dtype, factors=factors,
                 matrices=tuple((v.shape, v.strides) for v in (*views, out)),
                 activation=fused[-1].op.name if len(fused) > 1 else "")
    return True


def _turned(view: View) -> View:
    """The last two axes exchanged."""
    return view._replace(shape=(*view.shape[:-2], view.shape[-1], view.shape[-2]),
                         strides=(*view.strides[:-2], view.strides[-1], view.strides[-2]))


def _batched(view: View, shape) -> View:
    """A matrix seen once for each of a batch, which moves nothing."""
    lead = (*shape[:-2], *view.shape[-2:])
    return view.broadcast(view.shape, lead) if view.shape != lead else view


def _usable(program, view: View, t, turned: bool) -> View:
    """A matrix one of whose last two axes runs without gaps; others are copied."""
    rows, columns = view.strides[-2:]
    if (columns == 1 and rows >= view.shape[-1] or rows == 1 and columns >= view.shape[-2]) and \
            all(s >= 0 for s in view.strides):
        return view
    fresh = View.whole(program.whole(t), t.shape)
    if len(view.shape) != len(t.shape):
        return fresh._replace(shape=view.shape, strides=contiguous(view.shape))
    return _turned(fresh) if turned else fresh


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


def multiplies_halves(node: Node) -> bool:
    """Whether there is a product of a node's factors in two bytes."""
    return node.op.name in ("matmul", *CONVOLUTIONS)


def patterns(alone: Collection[Node]) -> tuple:
    """Patterns of nodes that are queued as one, but for those that are to stand alone."""
    return ((lambda node, users, kept: None if node in alone else _with_bias(node, users, kept),
             max),)


EMIT = {"matmul": _matmul, **MOVING, **RECURRENT, **REDUCTIONS, **ROWS, **WINDOWS}
