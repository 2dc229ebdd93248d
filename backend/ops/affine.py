"""Linear functions of the rows of a table in float64, whatever the table's own dtype."""
from __future__ import annotations

from ..errors import ShapeError
from ..op import OPS, cases, normal, op
from ..spec import Spec, floating
from .emission import as_type
from .sliding import blocks

BLOCK = 1 << 24      # bytes of rows, as float64, worked on at a time


def affine_spec(x, kernel, bias):
    """Float64, a column for each function."""
    floating(x, kernel, bias)
    if len(x.shape) != 2 or len(kernel.shape) != 2 or x.shape[1] != kernel.shape[0]:
        raise ShapeError(f"the inner sizes differ or x and the kernel are no matrices: "
                         f"{list(x.shape)} and {list(kernel.shape)}")
    if bias.shape != kernel.shape[1:]:
        raise ShapeError(f"the bias must be [{kernel.shape[1]}], one number per column of the "
                         f"kernel, not {list(bias.shape)}")
    return Spec.of((x.shape[0], kernel.shape[1]), "float64")


def affine_forward(xp, x, kernel, bias):
    """``x @ kernel + bias`` in float64."""
    out = xp.empty((x.shape[0], kernel.shape[1]), "float64")
    kernel, bias = xp.asarray(kernel, "float64"), xp.asarray(bias, "float64")
    for rows in blocks(x.shape[0], 8 * x.shape[1], BLOCK):
        xp.add(xp.matmul(xp.asarray(x[rows], "float64"), kernel), bias, out=out[rows])
    return out


def affine_grad(g, out, x, kernel, bias):
    """With out = X K + b: dX = g K', dK = X' g, db = the sum of g over rows."""
    wide, matmul = (lambda t: OPS["cast"](t, dtype="float64")), OPS["matmul"]
    found = (matmul(g, wide(kernel), transpose_y=True), matmul(wide(x), g, transpose_x=True),
             OPS["sum"](g, axis=0))
    return tuple(OPS["cast"](d, dtype=t.dtype.name) for d, t in zip(found, (x, kernel, bias)))


def emit_affine(emit, x, kernel, bias):
    """MatMul and Add of the parts in float64."""
    x, kernel, bias = (as_type(emit, t, "float64") for t in (x, kernel, bias))
    return emit("Add", emit("MatMul", x, kernel), bias)


affine = op("affine", forward=affine_forward, spec=affine_spec, grad=affine_grad, onnx=emit_affine,
            kernels={"native": "affine.cpp"},
            flops=lambda x, kernel, bias: 2 * x.size * kernel.shape[1],
            samples=cases(normal((9, 3), (3, 1), (1,)), normal((7, 21), (21, 2), (2,)),
                          normal((5, 4), (4, 9), (9,)), normal((0, 3), (3, 1), (1,)),
                          normal((1, 8), (8, 0), (0,))))
