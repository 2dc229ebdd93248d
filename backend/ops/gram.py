"""The Gram matrix of shifted, weighted rows: all that exact least squares needs of a tall table."""
from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..op import OPS, cases, normal, op
from ..spec import Spec, floating
from .emission import as_type
from .sliding import blocks

BLOCK = 1 << 22      # bytes of rows worked on at a time, so that several passes stay in cache


def gram_spec(x, y, centre, root=None):
    """Float64, with a row and a column for the ones, for each column of x and of y."""
    floating(*(s for s in (x, y, centre, root) if s is not None))
    if len(x.shape) != 2 or len(y.shape) != 2 or x.shape[0] != y.shape[0]:
        raise ShapeError("x and y must be matrices with the same number of rows")
    columns = x.shape[1] + y.shape[1]
    if centre.shape != (columns,):
        raise ShapeError(f"the centre must be [{columns}], one number per column, "
                         f"not {list(centre.shape)}")
    if root is not None and root.shape != x.shape[:1]:
        raise ShapeError(f"the roots of the weights must be [{x.shape[0]}], one per row, "
                         f"not {list(root.shape)}")
    return Spec.of((1 + columns, 1 + columns), "float64")


def gram_forward(xp, x, y, centre, root=None):
    """A'A in float64 for the rows ``A = root * [1, x - centre, y - centre]``."""
    inner, columns = 1 + x.shape[1], 1 + x.shape[1] + y.shape[1]
    total = xp.zeros((columns, columns), "float64")
    slices = blocks(len(x), 8 * columns, BLOCK)
    buffer = xp.empty((slices[0].stop if slices else 0, columns), "float64")
    centre = centre.astype("float64")
    for rows in slices:
        block = buffer[:rows.stop - rows.start]
        block[:, 0] = 1.0
        xp.subtract(x[rows], centre[:inner - 1], out=block[:, 1:inner])
        xp.subtract(y[rows], centre[inner - 1:], out=block[:, inner:])
        if root is not None:
            block *= root[rows, None]
        total += block.T @ block
    return total


def gram_grad(g, out, x, y, centre, root=None):
    """With out = A'A: dA = A (g + g'); through the root and the shift to the parts of A."""
    split, wide = x.shape[1], lambda t: OPS["cast"](t, dtype="float64")
    shifted = OPS["concatenate"](wide(x), wide(y), axis=1) - wide(centre)
    rows = OPS["concatenate"](OPS["ones_like"](shifted[:, :1]), shifted, axis=1)
    both = g + OPS["transpose"](g)
    weight = None if root is None else OPS["expand_dims"](wide(root), axis=1)
    by_rows = OPS["matmul"](rows if weight is None else rows * weight, both)
    by_root = () if root is None else (OPS["sum"](by_rows * rows, axis=1),)
    by_shifted = (by_rows if weight is None else by_rows * weight)[:, 1:]
    found = (by_shifted[:, :split], by_shifted[:, split:], -OPS["sum"](by_shifted, axis=0),
             *by_root)
    given = (x, y, centre) if root is None else (x, y, centre, root)
    return tuple(OPS["cast"](d, dtype=t.dtype.name) for d, t in zip(found, given))


def emit_gram(emit, x, y, centre, root=None):
    """Sub, Concat and Mul make the rows; MatMul with their transpose."""
    wide = [x._replace(name=as_type(emit, t, "float64")) for t in (x, y, centre)]
    shifted = emit("Sub", emit("Concat", *wide[:2], axis=1), wide[2])
    rows = emit("Concat", emit.constant(np.ones((x.shape[0], 1)), "float64"), shifted, axis=1)
    if root is not None:
        column = emit("Unsqueeze", as_type(emit, root, "float64"), emit.constant([1]))
        rows = emit("Mul", rows, column)
    return emit("MatMul", emit("Transpose", rows, perm=(1, 0)), rows)


gram = op("gram", forward=gram_forward, spec=gram_spec, grad=gram_grad, onnx=emit_gram,
          kernels={"native": "gram.cpp"},
          flops=lambda x, y, *_: x.shape[0] * (1 + x.shape[1] + y.shape[1]) *
                                 (2 + x.shape[1] + y.shape[1]),
          samples=cases(normal((7, 3), (7, 1), (4,), (7,)), normal((7, 3), (7, 1), (4,)),
                        normal((5, 1), (5, 2), (3,), (5,)), normal((300, 29), (300, 1), (30,)),
                        normal((9, 2), (9, 0), (2,)), normal((0, 2), (0, 1), (3,))))
