"""Tall tables in the core: steps of a program, and ops that run at once on a table as it lies."""
from __future__ import annotations

import numpy as np

from ..tensor import Node

FLOATS = ("float32", "float64")


def _gram_fits(core, x, y) -> bool:
    """Whether tiles in registers are the fastest way: beyond, NumPy's BLAS is."""
    return x.dtype.name in FLOATS and 1 + x.shape[1] + y.shape[1] <= core.GRAM_COLUMNS


def _affine_fits(core, x, kernel) -> bool:
    """Whether memory sets the pace: with more functions NumPy's BLAS is faster."""
    return x.dtype.name in FLOATS and kernel.shape[1] <= core.AFFINE_FUNCTIONS


def _readable(x) -> bool:
    """Whether the core can read an array where it lies."""
    return x.dtype.isnative and not any(step % x.itemsize for step in x.strides)


def _doubles(*arrays):
    return (a if a is None else np.asarray(a, np.float64) for a in arrays)


def _gram(program, node: Node):
    x, y, *rest = node.inputs
    if not _gram_fits(program.backend.core, x, y) or any(t.dtype != "float64" for t in (y, *rest)):
        return None
    centre, root = (program.whole(rest[0]), program.whole(rest[1]) if len(rest) > 1 else -1)
    program.core.gram(program.whole(x), program.whole(y), centre, root,
                      program.out(node.outputs[0]).value)
    return True


def _affine(program, node: Node):
    x, kernel, bias = node.inputs
    if not _affine_fits(program.backend.core, x, kernel) or kernel.dtype != "float64" or \
            bias.dtype != "float64":
        return None
    program.core.affine(program.whole(x), program.whole(kernel), program.whole(bias),
                        program.out(node.outputs[0]).value)
    return True


def _gram_at_once(core, x, y, centre, root=None):
    if _gram_fits(core, x, y) and _readable(x):
        return core.gram(x, *_doubles(y, centre, root))
    return None


def _affine_at_once(core, x, kernel, bias):
    if _affine_fits(core, x, kernel) and _readable(x) and x.strides[1] == x.itemsize:
        return core.affine(x, *_doubles(kernel.T, bias))
    return None


TABLES = {"gram": _gram, "affine": _affine}
# What `NativeBackend.run` hands to the core without a program; None declines.
DIRECT = {"gram": _gram_at_once, "affine": _affine_at_once}
