"""Ops that read and write rows and entries by integer positions, and rows of unequal length."""
from __future__ import annotations

import numpy as np

from ..errors import ParameterError, ShapeError
from ..op import cases, normal, op
from ..spec import Spec, integer, one_axis
from .emission import along, as_type

INT64 = np.dtype("int64")

# ---- rows and entries --------------------------------------------------------------------------
# Positions count from 0; negative ones count from the end, and a position outside the axis is an
# IndexError when it is computed.

def gather_spec(x, indices, *, axis):
    """The axis replaced by those of the indices."""
    axis = one_axis(axis, len(x.shape))
    integer(indices, "indices")
    return x.like(*x.shape[:axis], *indices.shape, *x.shape[axis + 1:])


def scatter_add_spec(indices, values, like, *, axis):
    """The spec of ``like``."""
    part = gather_spec(like, indices, axis=axis)
    if values != part:
        raise ShapeError(f"the values are {values}, not {part}")
    return like


def scatter_add_forward(xp, indices, values, like, *, axis=0):
    """Zeros of the shape of ``like``, with values added at rows in the order given."""
    axis = one_axis(axis, like.ndim)
    result = xp.zeros(like.shape, dtype=values.dtype)
    at = tuple(range(axis, axis + indices.ndim))
    values = xp.moveaxis(values, at, tuple(range(indices.ndim)))
    xp.scatter_add(xp.moveaxis(result, axis, 0), indices, values)
    return result


def take_along_spec(x, indices, *, axis):
    """The shape of the indices, which equals that of x beside the axis."""
    axis = one_axis(axis, len(x.shape))
    integer(indices, "indices")
    beside = lambda shape: (*shape[:axis], *shape[axis + 1:])
    if len(indices.shape) != len(x.shape) or beside(indices.shape) != beside(x.shape):
        raise ShapeError(f"the shapes differ beside axis {axis}")
    return x.like(*indices.shape)


def put_along_spec(indices, values, like, *, axis):
    """The spec of ``like``."""
    part = take_along_spec(like, indices, axis=axis)
    if values != part:
        raise ShapeError(f"the values are {values}, not {part}")
    return like


def put_along_forward(xp, indices, values, like, *, axis=-1):
    """Zeros of the shape of ``like``, with each value added at its position along the axis."""
    axis = one_axis(axis, like.ndim)
    result = xp.zeros(like.shape, dtype=values.dtype)
    at = [xp.arange(n).reshape(-1, *(1,) * (like.ndim - 1 - i)) for i, n in enumerate(like.shape)]
    at[axis] = indices
    xp.scatter_add(result, tuple(at), values)
    return result


def indexed(*shape, at, most, **settings):
    """Samples: normal numbers and indices of a shape below a number."""
    return lambda rng: [([rng.standard_normal(shape), rng.integers(0, most, at)], settings)]


def scattered(values, at, like, **settings):
    """Samples: indices, values and what they are scattered into."""
    axis = settings.get("axis", -1)
    return lambda rng: [([rng.integers(0, like[axis], at), rng.standard_normal(values),
                          rng.standard_normal(like)], settings)]


gather = op("gather", forward=lambda xp, x, indices, *, axis=0: xp.take(x, indices, axis=axis),
            spec=gather_spec, onnx="Gather",
            grad=lambda g, out, x, indices, *, axis:
            (scatter_add(indices, g, x, axis=axis), None),
            samples=cases(indexed(4, 3, at=(5,), most=4), indexed(4, 3, at=(2, 3), most=4),
                          indexed(2, 4, 3, at=(2, 2), most=4, axis=1),
                          indexed(2, 4, at=(), most=4, axis=-1), indexed(4, 3, at=(0,), most=4)))
scatter_add = op("scatter_add", forward=scatter_add_forward, spec=scatter_add_spec,
                 grad=lambda g, out, indices, values, like, *, axis:
                 (None, gather(g, indices, axis=axis), None),
                 samples=cases(scattered((5, 3), (5,), (4, 3), axis=0),
                               scattered((2, 3, 3), (2, 3), (4, 3), axis=0),
                               scattered((2, 2, 2, 3), (2, 2), (2, 4, 3), axis=1)))
take_along = op("take_along", spec=take_along_spec,
                onnx=lambda emit, x, indices, *, axis: emit(
                    "GatherElements", x, indices, axis=axis % len(x.shape)),
                forward=lambda xp, x, indices, *, axis=-1:
                xp.take_along_axis(x, indices, axis=axis),
                grad=lambda g, out, x, indices, *, axis:
                (put_along(indices, g, x, axis=axis), None),
                samples=cases(indexed(3, 4, at=(3, 2), most=4),
                              indexed(3, 4, at=(5, 4), most=3, axis=0),
                              indexed(3, 4, at=(3, 0), most=4)))
put_along = op("put_along", forward=put_along_forward, spec=put_along_spec,
               onnx=lambda emit, indices, values, like, *, axis: emit(
                   "ScatterElements", emit("ConstantOfShape", emit("Shape", like),
                                           value=np.zeros(1, like.dtype)),
                   indices, values, axis=axis % len(like.shape), reduction="add"),
               grad=lambda g, out, indices, values, like, *, axis:
               (None, take_along(g, indices, axis=axis), None),
               samples=cases(scattered((3, 2), (3, 2), (3, 4)),
                             scattered((5, 4), (5, 4), (3, 4), axis=0)))


# ---- indicators --------------------------------------------------------------------------------

def one_hot_spec(indices, *, depth, dtype):
    """A last axis of length ``depth``."""
    integer(indices, "indices")
    if not isinstance(depth, int) or depth < 0:
        raise ParameterError(f"the depth is a whole number from 0 on, not {depth}")
    return Spec.of((*indices.shape, depth), dtype)


# A number below 0 or from depth on has a row of zeros.
one_hot = op("one_hot", spec=one_hot_spec,
             forward=lambda xp, indices, *, depth, dtype="float32":
             (indices[..., None] == xp.arange(depth)).astype(dtype),
             onnx=lambda emit, indices, *, depth, dtype: as_type(emit, emit(
                 "Equal", along(emit, "Unsqueeze", indices, -1),
                 emit.constant(range(depth), indices.dtype)), dtype),
             samples=lambda rng: [([np.array([[0, 2], [-1, 3]])], {"depth": 3}),
                                  ([np.array(1, np.int32)], {"depth": 2, "dtype": "int64"})])


# ---- rows of unequal length --------------------------------------------------------------------

def row_offset_spec(x):
    """One whole number."""
    if not x.shape:
        raise ShapeError("a 0-d tensor has no rows")
    return Spec((), INT64)


def timed(x):
    """Require axes of samples and of time."""
    if len(x.shape) < 2:
        raise ShapeError("needs axes (batch, time, ...)")


def with_lengths(x, lengths):
    """Require one length per sample."""
    timed(x)
    integer(lengths, "lengths")
    if lengths.shape != x.shape[:1]:
        raise ShapeError(f"the lengths have the shape {list(lengths.shape)}, "
                         f"not {list(x.shape[:1])}")


def sequence_mask_spec(x, lengths):
    """Booleans of shape (batch, time)."""
    with_lengths(x, lengths)
    return Spec(x.shape[:2], np.dtype(bool))


def full_lengths_spec(x):
    """One length per sample."""
    timed(x)
    return Spec(x.shape[:1], INT64)


def reverse_sequence_spec(x, lengths):
    """The spec of x."""
    with_lengths(x, lengths)
    return x


def reverse_sequence_forward(xp, x, lengths):
    """The first ``lengths`` steps of each row backwards; padding stays where it is."""
    time = xp.arange(x.shape[1])[None]                                         # (1, time)
    length = xp.minimum(lengths, x.shape[1]).astype(xp.int64)[:, None]         # (batch, 1)
    index = xp.where(time < length, length - 1 - time, time)                   # (batch, time)
    return x[xp.arange(x.shape[0])[:, None], index]


def emit_time(emit, x):
    """How many steps x has when the model runs, 0-d."""
    return emit("Gather", emit("Shape", x), emit.constant(1))


def emit_sequence_mask(emit, x, lengths):
    """Positions of the steps below the lengths."""
    steps = emit("Range", emit.constant(0), emit_time(emit, x), emit.constant(1))
    return emit("Less", steps, along(emit, "Unsqueeze", as_type(emit, lengths, "int64"), 1))


def emit_full_lengths(emit, x):
    """The number of steps as often as there are rows."""
    rows = emit("Gather", emit("Shape", x), emit.constant([0]))
    return emit("Expand", emit_time(emit, x), rows)


def lengthy(*shape):
    """Samples: sequences and their lengths, from 0 to the longest."""
    return lambda rng: [([rng.standard_normal(shape),
                          np.arange(shape[0]) % (shape[1] + 1)], {})]


# The position of x's first row in the global batch; the replication pass puts a replica's own
# number in its place.
row_offset = op("row_offset", forward=lambda xp, x: xp.zeros((), dtype=xp.int64),
                spec=row_offset_spec, samples=normal((3, 2)),
                onnx=lambda emit, x: emit.constant(0))
sequence_mask = op("sequence_mask", spec=sequence_mask_spec, onnx=emit_sequence_mask,
                   forward=lambda xp, x, lengths:
                   xp.arange(x.shape[1])[None] < lengths[:, None],
                   samples=cases(lengthy(5, 3), lengthy(2, 3, 2), lengthy(2, 0)))
full_lengths = op("full_lengths", spec=full_lengths_spec, onnx=emit_full_lengths,
                  forward=lambda xp, x: xp.full(x.shape[:1], x.shape[1], dtype=xp.int64),
                  samples=cases(normal((2, 3)), normal((0, 3, 2))))
reverse_sequence = op("reverse_sequence", forward=reverse_sequence_forward,
                      spec=reverse_sequence_spec,
                      grad=lambda g, out, x, lengths: (reverse_sequence(g, lengths), None),
                      onnx=lambda emit, x, lengths: emit(
                          "ReverseSequence", x, as_type(emit, lengths, "int64"),
                          batch_axis=0, time_axis=1),
                      samples=cases(lengthy(5, 3), lengthy(4, 3, 2), lengthy(2, 1, 3)))
