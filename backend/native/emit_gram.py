"""Gram matrices in the core: as a step of a program, and at once for tables lying anywhere."""
from __future__ import annotations

import numpy as np

from ..tensor import Node

FLOATS = ("float32", "float64")


def _fits(core, x, y) -> bool:
    """Whether tiles in registers are the fastest way: beyond, NumPy's BLAS is."""
    return x.dtype.name in FLOATS and x.dtype.isnative and \
        1 + x.shape[1] + y.shape[1] <= core.GRAM_COLUMNS


def _gram(program, node: Node):
    x, y, *rest = node.inputs
    if not _fits(program.backend.core, x, y) or any(t.dtype != "float64" for t in (y, *rest)):
        return None
    centre, root = (program.whole(rest[0]), program.whole(rest[1]) if len(rest) > 1 else -1)
    program.core.gram(program.whole(x), program.whole(y), centre, root,
                      program.out(node.outputs[0]).value)
    return True


def _gram_at_once(core, x, y, centre, root=None):
    if not _fits(core, x, y) or any(step % x.itemsize for step in x.strides):
        return None
    return core.gram(x, *(a if a is None else np.asarray(a, np.float64) for a in (y, centre, root)))


GRAM = {"gram": _gram}
DIRECT = {"gram": _gram_at_once}    # what `NativeBackend.run` hands to the core without a program
