"""Random ops for the core; seed, step and offset are values read when the program runs."""
from __future__ import annotations

import math

import numpy as np

from ..lowering.view import View
from ..tensor import Node

FLOATS = ("float32", "float64")


def _draw(program, kind: str, node: Node, out: int, shape, a: float = 0.0, b: float = 1.0) -> bool:
    """A step that fills a value with numbers of a distribution."""
    counters = (program.whole(t) for t in node.inputs[-3:])
    program.core.random(kind, *counters, out, math.prod(shape), math.prod(shape[1:]),
                        node.settings["stream"] % 2 ** 32, a, b)
    return True


def _random(kind: str, a: str = "", b: str = ""):
    """A distribution with a first number and a scale by their settings' names."""
    def emit(program, node: Node):
        spec, given = node.specs[0], node.settings
        if spec.dtype.name not in (("uint32",) if kind == "bits" else FLOATS):
            return None
        numbers = [given[a] if a else 0.0, given[b] if b else 1.0]
        if kind == "uniform":
            numbers[1] -= numbers[0]
        return _draw(program, kind, node, program.out(node.outputs[0]).value, spec.shape, *numbers)
    return emit


def _dropout_mask(program, node: Node):
    x, out = node.inputs[0], node.outputs[0]
    rate = node.settings["rate"]
    if x.dtype.name not in FLOATS:
        return None
    if rate == 0.0:
        one = View.whole(program.core.constant(np.ones((), x.dtype)), ())
        program.views[out] = one.broadcast((), out.shape)
        return True
    shared = {axis % x.ndim for axis in node.settings["shared_axes"]}
    shape = tuple(1 if axis in shared else n for axis, n in enumerate(x.shape))
    if shape == out.shape:
        view = program.out(out)
    else:                                  # drawn once, and seen along the shared axes
        view = program.new(out.spec.like(*shape))
        program.views[out] = view.broadcast(shape, out.shape)
    return _draw(program, "mask", node, view.value, shape,
                 min(round(rate * 2.0 ** 32), 2 ** 32 - 1), 1.0 / (1.0 - rate))


RANDOM = {"random_bits": _random("bits"), "random_uniform": _random("uniform", "low", "high"),
          "normal_like": _random("normal", "", "stddev"), "dropout_mask": _dropout_mask}
