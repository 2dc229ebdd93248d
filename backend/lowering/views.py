"""Ops that compute nothing: each only says how its result lies in its input's memory."""
from __future__ import annotations

from ..ops.shape import part_sizes
from ..spec import axes_of, one_axis
from ..tensor import Node
from .view import View, contiguous


def part(view: View, starts, shape, steps=None) -> View:
    """A view's elements from ``starts`` on."""
    steps = steps or (1,) * len(shape)
    return View(view.value, view.offset + sum(a * s for a, s in zip(starts, view.strides)),
                tuple(shape), tuple(s * n for s, n in zip(view.strides, steps)))


def _reshape(program, node: Node):
    t, out = node.inputs[0], node.outputs[0]
    view = program.views[t]
    if not view.is_contiguous():
        view = View.whole(program.whole(t), t.shape)
    program.views[out] = view._replace(shape=out.shape, strides=contiguous(out.shape))
    return True


def _transpose(program, node: Node):
    view = program.views[node.inputs[0]]
    axes = node.settings["axes"] or tuple(reversed(range(len(view.shape))))
    program.views[node.outputs[0]] = view._replace(
        shape=node.outputs[0].shape, strides=tuple(view.strides[a] for a in axes))
    return True


def _broadcast(program, node: Node):
    t, out = node.inputs[0], node.outputs[0]
    program.views[out] = program.views[t].broadcast(t.shape, out.shape)
    return True


def _slice(program, node: Node):
    t, out = node.inputs[0], node.outputs[0]
    view = program.views[t]
    starts, steps = node.settings["start"], node.settings["step"] or (1,) * t.ndim
    offset, strides = view.offset, list(view.strides)
    for axis, (start, stop) in enumerate(zip(starts, node.settings["stop"])):
        step = steps[axis] or 1
        begin, _, step = slice(start, stop, step).indices(t.shape[axis])
        offset += begin * view.strides[axis]
        strides[axis] = view.strides[axis] * step
    program.views[out] = View(view.value, offset, out.shape, tuple(strides))
    return True


def _flip(program, node: Node):
    t = node.inputs[0]
    view = program.views[t]
    offset, strides = view.offset, list(view.strides)
    for axis in axes_of(node.settings["axis"], t.ndim):
        offset += (t.shape[axis] - 1) * strides[axis]
        strides[axis] = -strides[axis]
    program.views[node.outputs[0]] = view._replace(offset=offset, strides=tuple(strides))
    return True


def _same(program, node: Node):
    program.views[node.outputs[0]] = program.views[node.inputs[0]]
    return True


def _split(program, node: Node):
    """Views of the parts."""
    x = node.inputs[0]
    axis, start = one_axis(node.settings["axis"], x.ndim), 0
    for out, size in zip(node.outputs, part_sizes(x.shape[axis], node.settings["sections"])):
        starts = [start if i == axis else 0 for i in range(x.ndim)]
        program.views[out] = part(program.views[x], starts, out.shape)
        start += size
    return True


VIEWS = {"reshape": _reshape, "expand_dims": _reshape, "squeeze": _reshape,
         "transpose": _transpose, "broadcast_to": _broadcast, "broadcast_like": _broadcast,
         "slice": _slice, "split": _split, "flip": _flip, "copy": _same, "stop_gradient": _same}
