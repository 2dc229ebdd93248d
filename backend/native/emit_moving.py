"""Ops that move elements: parts are views where they can be, copies with strides elsewhere."""
from __future__ import annotations

import math

from ..lowering.view import View, contiguous
from ..lowering.views import part
from ..ops.shape import tupled
from ..spec import one_axis
from ..tensor import Node

COUNTED = ("int64",)          # the dtype of positions and lengths that the core reads


def _move(program, name: str, view: View, to: View) -> None:
    """Copy a view's elements into another of the same shape."""
    core, shape = program.backend.core, to.shape
    program.core.move(name, list(shape), view.operand(core, shape), to.operand(core, shape))


# ---- joining and parting -----------------------------------------------------------------------

def _concatenate(program, node: Node):
    target = node.outputs[0]
    axis, start, out = one_axis(node.settings["axis"], target.ndim), 0, program.out(target)
    for t in node.inputs:
        starts = [start if i == axis else 0 for i in range(target.ndim)]
        _move(program, "concatenate", program.views[t], part(out, starts, t.shape))
        start += t.shape[axis]
    return True


def _stack(program, node: Node):
    target = node.outputs[0]
    axis, out = one_axis(node.settings["axis"], target.ndim), program.out(target)
    for i, t in enumerate(node.inputs):
        layer = View(out.value, out.offset + i * out.strides[axis], t.shape,
                     (*out.strides[:axis], *out.strides[axis + 1:]))
        _move(program, "stack", program.views[t], layer)
    return True


def _pad(program, node: Node):
    x, target = node.inputs[0], node.outputs[0]
    out = program.out(target)
    program.core.fill(out.value, node.settings["value"])
    starts = [low for low, _ in node.settings["widths"]]
    _move(program, "pad", program.views[x], part(out, starts, x.shape))
    return True


def _slice_gradient(program, node: Node):
    g, target = node.inputs[0], node.outputs[0]
    out = program.out(target)
    program.core.fill(out.value, 0.0)
    starts, steps = [0] * target.ndim, [1] * target.ndim
    given = node.settings["step"] or (None,) * len(node.settings["start"])
    for i, bounds in enumerate(zip(node.settings["start"], node.settings["stop"], given)):
        starts[i], _, steps[i] = slice(*bounds).indices(target.shape[i])
    _move(program, "slice_gradient", program.views[g], part(out, starts, g.shape, steps))
    return True


def _tile(program, node: Node):
    x, target = node.inputs[0], node.outputs[0]
    repeats = tupled(node.settings["repeats"])
    ndim = max(x.ndim, len(repeats))
    repeats = (1,) * (ndim - len(repeats)) + repeats
    view = program.views[x].broadcast(x.shape, (1,) * (ndim - x.ndim) + x.shape)
    shape = tuple(n for pair in zip(repeats, view.shape) for n in pair)
    source = view._replace(shape=shape, strides=tuple(n for s in view.strides for n in (0, s)))
    _move(program, "tile", source, program.out(target)._replace(shape=shape,
                                                                strides=contiguous(shape)))
    return True


# ---- positions ---------------------------------------------------------------------------------

def _along(shape, axis: int) -> tuple[int, int, int]:
    """(outer, n, inner) about an axis."""
    axis = one_axis(axis, len(shape))
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1:])


def _cumsum(program, node: Node):
    x, out = node.inputs[0], node.outputs[0]
    if x.dtype != out.dtype:
        return None
    program.core.cumsum(program.whole(x), program.out(out).value,
                        *_along(x.shape, node.settings["axis"]), node.settings["reverse"])
    return True


def _take_along(program, node: Node):
    x, indices = node.inputs
    if indices.dtype.name not in COUNTED:
        return None
    outer, n, inner = _along(x.shape, node.settings["axis"])
    m = indices.shape[one_axis(node.settings["axis"], x.ndim)]
    program.core.take_along(program.whole(x), program.whole(indices),
                            program.out(node.outputs[0]).value, outer, n, m, inner)
    return True


def _put_along(program, node: Node):
    indices, values, _ = node.inputs
    out = node.outputs[0]
    if indices.dtype.name not in COUNTED:
        return None
    outer, n, inner = _along(out.shape, node.settings["axis"])
    m = indices.shape[one_axis(node.settings["axis"], out.ndim)]
    program.core.put_along(program.whole(indices), program.whole(values), program.out(out).value,
                           outer, n, m, inner)
    return True


def _one_hot(program, node: Node):
    indices = node.inputs[0]
    if indices.dtype.name not in COUNTED:
        return None
    program.core.one_hot(program.whole(indices), program.out(node.outputs[0]).value,
                         indices.spec.size, node.settings["depth"])
    return True


def _sequence_mask(program, node: Node):
    lengths, out = node.inputs[1], node.outputs[0]
    if lengths.dtype.name not in COUNTED:
        return None
    program.core.sequence_mask(program.whole(lengths), program.out(out).value, *out.shape)
    return True


def _reverse_sequence(program, node: Node):
    x, lengths = node.inputs
    if lengths.dtype.name not in COUNTED:
        return None
    batch, steps, *rest = x.shape
    program.core.reverse_sequence(program.whole(x), program.whole(lengths),
                                  program.out(node.outputs[0]).value, batch, steps,
                                  math.prod(rest))
    return True


MOVING = {"concatenate": _concatenate, "stack": _stack, "pad": _pad,
          "slice_gradient": _slice_gradient, "tile": _tile, "cumsum": _cumsum,
          "take_along": _take_along, "put_along": _put_along, "one_hot": _one_hot,
          "sequence_mask": _sequence_mask, "reverse_sequence": _reverse_sequence}
