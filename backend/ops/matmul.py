"""The matrix product, batched, with its transposes as settings."""
from __future__ import annotations

import math

from ..errors import ShapeError
from ..op import OPS, cases, normal, op
from ..spec import broadcast, floating, one_dtype


def sizes(x, y, transpose_x, transpose_y):
    """Rows, inner size of x, inner size of y, and columns of the product."""
    rows, inner = x.shape[-2:][::-1] if transpose_x else x.shape[-2:]
    other, columns = y.shape[-2:][::-1] if transpose_y else y.shape[-2:]
    return rows, inner, other, columns


def matmul_spec(x, y, *, transpose_x, transpose_y):
    """Leading axes broadcast; the inner sizes agree."""
    floating(x, y)
    one_dtype(x, y)
    if min(len(x.shape), len(y.shape)) < 2:
        raise ShapeError("both factors need 2 axes or more",
                         fix="add an axis with gt.expand_dims")
    rows, inner, other, columns = sizes(x, y, transpose_x, transpose_y)
    if inner != other:
        raise ShapeError(f"the inner sizes differ, {inner} and {other}")
    return x.like(*broadcast(x.shape[:-2], y.shape[:-2]), rows, columns)


def shared(x, y, transpose_x):
    """Whether y is one matrix for all rows of a batched x: then all is one large product."""
    return len(x.shape) > 2 == len(y.shape) and not transpose_x


def matmul_forward(xp, x, y, *, transpose_x=False, transpose_y=False):
    """``x @ y``, or with either factor's last two axes swapped first."""
    if transpose_y:
        y = xp.swapaxes(y, -1, -2)
    if shared(x, y, transpose_x):
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return xp.matmul(rows, y).reshape(*x.shape[:-1], y.shape[-1])
    if transpose_x:
        x = xp.swapaxes(x, -1, -2)
    return xp.matmul(x, y)


def rows_of(x):
    """x as a matrix of its last axis; -1 leaves the batch size open where it can be inferred."""
    lead = -1 if x.shape[-1] else math.prod(x.shape[:-1])
    return OPS["reshape"](x, shape=(lead, x.shape[-1]))


def matmul_grad(g, out, x, y, *, transpose_x, transpose_y):
    """With out = A B: dA = g B', dB = A' g, each transposed where its factor was."""
    if shared(x, y, transpose_x):
        left, right = rows_of(x), rows_of(g)
    else:
        left, right = x, g
    by_x = (matmul(y, g, transpose_x=transpose_y, transpose_y=True) if transpose_x else
            matmul(g, y, transpose_y=not transpose_y))
    by_y = (matmul(right, left, transpose_x=True, transpose_y=transpose_x) if transpose_y else
            matmul(left, right, transpose_x=not transpose_x))
    return by_x, by_y


def matmul_flops(x, y, *, transpose_x, transpose_y):
    """A multiplication and an addition for each pair."""
    out = matmul_spec(x, y, transpose_x=transpose_x, transpose_y=transpose_y)
    return 2 * out.size * sizes(x, y, transpose_x, transpose_y)[1]


def emit_matmul(emit, x, y, *, transpose_x, transpose_y):
    """MatMul of the factors, turned first where the settings say so."""
    turned = lambda t: emit("Transpose", t, perm=(*range(len(t.shape) - 2), len(t.shape) - 1,
                                                  len(t.shape) - 2))
    return emit("MatMul", turned(x) if transpose_x else x, turned(y) if transpose_y else y)


matmul = op("matmul", forward=matmul_forward, spec=matmul_spec, grad=matmul_grad, onnx=emit_matmul,
            flops=matmul_flops,
            samples=cases(normal((4, 3), (3, 5)), normal((3, 4), (3, 5), transpose_x=True),
                          normal((4, 3), (5, 3), transpose_y=True),
                          normal((3, 4), (5, 3), transpose_x=True, transpose_y=True),
                          normal((2, 4, 3), (3, 5)), normal((2, 4, 3), (5, 3), transpose_y=True),
                          normal((2, 3, 4), (3, 5), transpose_x=True),
                          normal((2, 1, 4, 3), (6, 3, 2)),
                          normal((2, 3, 4), (2, 5, 3), transpose_x=True, transpose_y=True),
                          normal((1, 3), (3, 1)), normal((4, 3), (2, 3, 5)),
                          normal((0, 3), (3, 5)), normal((2, 4, 0), (0, 5))))
