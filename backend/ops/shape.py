"""Ops that move elements without changing them: shapes, axes, parts, and copies of parts."""
from __future__ import annotations

import math

import numpy as np

from ..errors import ParameterError, ShapeError
from ..op import cases, normal, op
from ..spec import axes_of, broadcast, one_axis, one_dtype
from ..tensor import constant
from .emission import along, identity


def whole(values, name, least=0):
    """Require a tuple of whole numbers."""
    values = values if isinstance(values, tuple) else (values,)
    if any(not isinstance(n, int) or isinstance(n, bool) or n < least for n in values):
        raise ParameterError(f"{name} holds whole numbers from {least} on, not {values}")
    return values


def tupled(value):
    """A tuple from a number or a tuple."""
    return value if isinstance(value, tuple) else (value,)


# ---- reshape, transpose, axes of length 1 ------------------------------------------------------

def reshape_spec(x, *, shape):
    """The shape, with its one -1 inferred."""
    shape = whole(shape, "shape", -1)
    known = math.prod(n for n in shape if n != -1)
    if shape.count(-1) > 1:
        raise ShapeError(f"{list(shape)} leaves more than one axis open", fix="use -1 once")
    if -1 in shape:
        if known == 0 or x.size % known:
            raise ShapeError(f"{x.size} elements do not fill the shape {list(shape)}")
        shape = tuple(x.size // known if n == -1 else n for n in shape)
    elif known != x.size:
        raise ShapeError(f"{x.size} elements do not fill the shape {list(shape)}",
                         fix="use -1 for one axis to infer it")
    return x.like(*shape)


def open_shape(shape):
    """A shape as a setting: -1 for the batch axis, so that it serves any batch size."""
    return (-1, *shape[1:]) if shape and math.prod(shape[1:]) else shape


def transpose_axes(axes, ndim):
    """The order of axes, reversed by default."""
    return tuple(reversed(range(ndim))) if axes is None else tuple(a % ndim for a in axes)


def transpose_spec(x, *, axes):
    """The axes in their new order."""
    ndim = len(x.shape)
    if axes is not None and axes_of(axes, ndim) != tuple(range(ndim)):
        raise ShapeError(f"axes {axes} is not an order of {ndim} axes",
                         fix="name each axis once")
    return x.like(*(x.shape[axis] for axis in transpose_axes(axes, ndim)))


def transpose_grad(g, out, x, *, axes):
    """The inverse order."""
    if axes is None:
        return (transpose(g),)
    axes = transpose_axes(axes, x.ndim)
    return (transpose(g, axes=tuple(axes.index(i) for i in range(x.ndim))),)


def expand_dims_spec(x, *, axis):
    """Axes of length 1 where they stand in the result."""
    axis = tupled(axis)
    ndim = len(x.shape) + len(axis)
    rest = iter(x.shape)
    new = axes_of(axis, ndim)
    return x.like(*(1 if i in new else next(rest) for i in range(ndim)))


def squeeze_spec(x, *, axis):
    """x without axes of length 1."""
    gone = axes_of(axis, len(x.shape))
    for i in gone:
        if x.shape[i] != 1:
            raise ShapeError(f"axis {i} has the length {x.shape[i]}, not 1")
    return x.like(*(n for i, n in enumerate(x.shape) if i not in gone))


def along_axes(op_type, extra):
    """Unsqueeze or Squeeze; axes are counted in the shape with them, ``extra`` axes longer."""
    return lambda emit, x, *, axis: along(
        emit, op_type, x, *axes_of(axis, len(x.shape) + extra * len(tupled(axis))))


reshape = op("reshape", forward=lambda xp, x, *, shape: x.reshape(shape), spec=reshape_spec,
             onnx=lambda emit, x, *, shape: emit("Reshape", x, emit.constant(tupled(shape)),
                                                 allowzero=int(0 in tupled(shape))),
             grad=lambda g, out, x, *, shape: (reshape(g, shape=open_shape(x.shape)),),
             samples=cases(normal((2, 6), shape=(-1, 3)), normal((2, 3, 4), shape=(-1, 12)),
                           normal((2, 3), shape=6), normal((), shape=(1, 1)),
                           normal((0, 3), shape=(-1, 3)), normal((2, 0), shape=(0, 5))))
transpose = op("transpose", spec=transpose_spec, grad=transpose_grad,
               forward=lambda xp, x, *, axes=None: xp.transpose(x, axes),
               onnx=lambda emit, x, *, axes: emit(
                   "Transpose", x, perm=transpose_axes(axes, len(x.shape)))
               if x.shape else identity(emit, x),
               samples=cases(normal((2, 3, 4)), normal((2, 3, 4), axes=(1, -1, 0)), normal(())))
expand_dims = op("expand_dims", spec=expand_dims_spec,
                 forward=lambda xp, x, *, axis: xp.expand_dims(x, axis),
                 onnx=along_axes("Unsqueeze", 1),
                 grad=lambda g, out, x, *, axis: (squeeze(g, axis=axis),),
                 samples=cases(normal((2, 3), axis=1), normal((2, 3), axis=(-1, 0)),
                               normal((), axis=0)))
squeeze = op("squeeze", forward=lambda xp, x, *, axis: xp.squeeze(x, axis), spec=squeeze_spec,
             onnx=along_axes("Squeeze", 0),
             grad=lambda g, out, x, *, axis: (expand_dims(g, axis=axes_of(axis, x.ndim)),),
             samples=cases(normal((2, 1, 3), axis=1), normal((1, 3, 1), axis=(0, -1)),
                           normal((1,), axis=0)))

# ---- joining and parting -----------------------------------------------------------------------

def concatenate_spec(*xs, axis):
    """One behind another; the other axes agree."""
    if not xs:
        raise ParameterError("there is nothing to join")
    one_dtype(*xs)
    axis = one_axis(axis, len(xs[0].shape))
    rest = {(*x.shape[:axis], *x.shape[axis + 1:]) for x in xs}
    if len(rest) > 1 or len({len(x.shape) for x in xs}) > 1:
        raise ShapeError(f"the shapes differ beside axis {axis}")
    length = sum(x.shape[axis] for x in xs)
    return xs[0].like(*xs[0].shape[:axis], length, *xs[0].shape[axis + 1:])


def concatenate_grad(g, out, *xs, axis):
    """Each input's part."""
    return split(g, sections=tuple(x.shape[axis] for x in xs), axis=axis)


def part_sizes(length, sections):
    """Lengths of the parts."""
    if isinstance(sections, tuple):
        return sections
    return (length // sections,) * sections


def split_spec(x, *, sections, axis):
    """One spec per part."""
    axis = one_axis(axis, len(x.shape))
    length = x.shape[axis]
    whole(sections, "sections", 0 if isinstance(sections, tuple) else 1)
    sizes = part_sizes(length, sections)
    if sum(sizes) != length or not sizes:
        raise ShapeError(f"axis {axis} of length {length} does not part into {sections}",
                         fix="pass a divisor of the length, or a tuple of lengths")
    return tuple(x.like(*x.shape[:axis], n, *x.shape[axis + 1:]) for n in sizes)


def split_forward(xp, x, *, sections, axis=-1):
    """Views of the parts."""
    ends, end = [], 0
    for size in part_sizes(x.shape[axis], sections)[:-1]:
        ends.append(end := end + size)
    parts = tuple(xp.split(x, ends, axis=axis))
    return parts if len(parts) > 1 else parts[0]  # a node of one output computes one array


def split_grad(g, out, x, *, sections, axis):
    """The parts' cotangents joined; zeros for a part that is not used."""
    if len(part_sizes(x.shape[axis], sections)) == 1:
        return (g,)
    return (concatenate(*(zeros_of(part) if part_g is None else part_g
                          for part_g, part in zip(g, out)), axis=axis),)


def zeros_of(x):
    """Zeros of a tensor's spec."""
    return broadcast_like(constant(np.zeros((), x.dtype)), x)


def stack_spec(*xs, axis):
    """Equal specs along a new axis."""
    if not xs:
        raise ParameterError("there is nothing to stack")
    one_dtype(*xs)
    if len({x.shape for x in xs}) > 1:
        raise ShapeError("the shapes differ")
    axis = one_axis(axis, len(xs[0].shape) + 1)
    return xs[0].like(*xs[0].shape[:axis], len(xs), *xs[0].shape[axis:])


def stack_grad(g, out, *xs, axis):
    """Each input's layer."""
    return tuple(squeeze(part, axis=axis) for part in split(g, sections=len(xs), axis=axis))


def emit_split(emit, x, *, sections, axis):
    """Parts of given lengths."""
    lengths = part_sizes(x.shape[axis], sections)
    if len(lengths) == 1:
        return identity(emit, x)
    return emit("Split", x, emit.constant(lengths), outputs=len(lengths), axis=axis)


concatenate = op("concatenate", spec=concatenate_spec, grad=concatenate_grad, onnx="Concat",
                 forward=lambda xp, *xs, axis=-1: xp.concatenate(xs, axis=axis),
                 samples=cases(normal((2, 3), (2, 1), (2, 2)), normal((1, 3), (2, 3), axis=0),
                               normal((2, 3)), normal((2, 0, 2), (2, 3, 2), axis=1)))
split = op("split", forward=split_forward, spec=split_spec, grad=split_grad, onnx=emit_split,
           samples=cases(normal((2, 6), sections=3), normal((2, 6), sections=(1, 0, 5)),
                         normal((4, 3), sections=2, axis=0), normal((2, 3), sections=1)))
stack = op("stack", forward=lambda xp, *xs, axis=0: xp.stack(xs, axis=axis), spec=stack_spec,
           onnx=lambda emit, *xs, axis: emit("Concat", *(along(emit, "Unsqueeze", x, axis)
                                                         for x in xs), axis=axis),
           grad=stack_grad, samples=cases(normal((2, 3), (2, 3)), normal((2, 3), (2, 3), axis=-1),
                                          normal((2,), axis=1), normal((), ())))

# ---- parts of a tensor -------------------------------------------------------------------------

def slices(start, stop, step):
    """Python slices of the leading axes; the other axes stay whole."""
    step = (None,) * len(start) if step is None else step
    return (*map(slice, start, stop, step), Ellipsis)


def slice_spec(x, *, start, stop, step):
    """Lengths by Python's rules: bounds from the end if negative, cut to the axis."""
    lengths = {len(part) for part in (start, stop, step or start)}
    if len(lengths) > 1 or len(start) > len(x.shape):
        raise ParameterError(f"start, stop and step need one entry for each of up to "
                             f"{len(x.shape)} axes")
    if any(n is not None and n < 1 for n in step or ()):
        raise ParameterError(f"steps are positive, not {step}", fix="use gt.flip")
    sizes = (len(range(*part.indices(n)))
             for part, n in zip(slices(start, stop, step)[:-1], x.shape))
    return x.like(*sizes, *x.shape[len(start):])


def slice_gradient_spec(g, x, *, start, stop, step):
    """The spec of x."""
    part = slice_spec(x, start=start, stop=stop, step=step)
    if g != part:
        raise ShapeError(f"the part is {g}, not {part}")
    return x


def slice_gradient_forward(xp, g, x, *, start, stop, step=None):
    """Zeros of x's shape with g in the slice's place."""
    result = xp.zeros(x.shape, dtype=g.dtype)
    result[slices(start, stop, step)] = g
    return result


def pad_spec(x, *, widths, value):
    """Each axis longer by the two widths."""
    if len(widths) != len(x.shape) or any(len(tupled(pair)) != 2 for pair in widths):
        raise ParameterError(f"widths needs one pair for each of {len(x.shape)} axes, "
                             f"not {widths}", fix="use (0, 0) for an axis that stays")
    for pair in widths:
        whole(pair, "widths")
    return x.like(*(low + n + high for n, (low, high) in zip(x.shape, widths)))


def pad_grad(g, out, x, *, widths, value):
    """The part inside; no length is written down, so it serves any batch size."""
    return (slice_(g, start=tuple(low for low, _ in widths),
                   stop=tuple(-high if high else None for _, high in widths)),)


def tile_spec(x, *, repeats):
    """Each axis repeated."""
    repeats = whole(repeats, "repeats", 1)
    if len(repeats) != len(x.shape):
        raise ParameterError(f"repeats needs one number for each of {len(x.shape)} axes, "
                             f"not {repeats}")
    return x.like(*(n * times for n, times in zip(x.shape, repeats)))


def tile_grad(g, out, x, *, repeats):
    """The sum over the copies, each on an axis of its own."""
    shape, copies = [], []
    for n, times in zip(open_shape(x.shape), tupled(repeats)):
        if times > 1:
            copies.append(len(shape))
            shape.append(times)
        shape.append(n)
    return (reshape(g, shape=tuple(shape)).sum(axis=tuple(copies)) if copies else g,)


WHOLE = np.iinfo(np.int64).max      # a bound beyond the end of every axis


def emit_slice(emit, x, *, start, stop, step):
    """Bounds by Python's rules are ONNX's too."""
    bounds = [[0 if n is None else n for n in start], [WHOLE if n is None else n for n in stop],
              range(len(start)), [n or 1 for n in step or (None,) * len(start)]]
    return emit("Slice", x, *map(emit.constant, bounds)) if start else identity(emit, x)


def emit_pad(emit, x, *, widths, value):
    """All widths before, then all behind."""
    pads = [n for side in zip(*widths) for n in side]
    return emit("Pad", x, emit.constant(pads), emit.constant(value, x.dtype))


slice_ = op("slice", forward=lambda xp, x, *, start, stop, step=None: x[slices(start, stop, step)],
            spec=slice_spec, onnx=emit_slice,
            grad=lambda g, out, x, **settings: (slice_gradient(g, x, **settings),),
            samples=cases(normal((4, 5), start=(1, 0), stop=(3, None)),
                          normal((4, 5), start=(0, -3), stop=(None, -1)),
                          normal((4, 5), start=(None, 0), stop=(None, 5), step=(1, 2)),
                          normal((4, 5), start=(9,), stop=(None,)),
                          normal((), start=(), stop=())))
slice_gradient = op("slice_gradient", forward=slice_gradient_forward, spec=slice_gradient_spec,
                    grad=lambda gg, out, g, x, **settings: (slice_(gg, **settings), None),
                    samples=cases(normal((2, 5), (4, 5), start=(1, 0), stop=(3, None)),
                                  normal((4, 3), (4, 5), start=(0, 0), stop=(None, 5),
                                         step=(1, 2))))
pad = op("pad", spec=pad_spec, grad=pad_grad, onnx=emit_pad,
         forward=lambda xp, x, *, widths, value=0.0:
         xp.pad(x, widths, mode="constant", constant_values=value),
         samples=cases(normal((2, 3), widths=((0, 0), (1, 2))),
                       normal((2, 3), widths=((1, 0), (0, 0)), value=2.5),
                       normal((2, 0), widths=((0, 0), (1, 0)))))
tile = op("tile", forward=lambda xp, x, *, repeats: xp.tile(x, repeats), spec=tile_spec,
          onnx=lambda emit, x, *, repeats: emit("Tile", x, emit.constant(tupled(repeats))),
          grad=tile_grad, samples=cases(normal((2, 3), repeats=(1, 2)),
                                        normal((2, 3), repeats=(3, 2)), normal((3,), repeats=1)))

# ---- order and copies --------------------------------------------------------------------------

def flip_spec(x, *, axis):
    """The spec of x."""
    axes_of(axis, len(x.shape))
    return x


def broadcast_to_spec(x, *, shape):
    """The shape asked for, which x's must broadcast to."""
    shape = whole(shape, "shape")
    if len(shape) < len(x.shape) or broadcast(x.shape, shape) != shape:
        raise ShapeError(f"{list(x.shape)} does not broadcast to {list(shape)}")
    return x.like(*shape)


def broadcast_like_spec(x, like):
    """x's dtype and the shape of the other."""
    return broadcast_to_spec(x, shape=like.shape)


def emit_flip(emit, x, *, axis):
    """A slice that runs backwards."""
    axes = axes_of(axis, len(x.shape))
    bounds = [-1] * len(axes), [-WHOLE] * len(axes), axes, [-1] * len(axes)
    return emit("Slice", x, *map(emit.constant, bounds))


flip = op("flip", forward=lambda xp, x, *, axis: xp.flip(x, axis), spec=flip_spec, onnx=emit_flip,
          grad=lambda g, out, x, *, axis: (flip(g, axis=axis),),
          samples=cases(normal((2, 3), axis=1), normal((2, 3, 2), axis=(0, -1))))
# The driver of gradients sums a cotangent down to its tensor, so a broadcast hands it on whole.
broadcast_to = op("broadcast_to", spec=broadcast_to_spec,
                  forward=lambda xp, x, *, shape: xp.broadcast_to(x, shape),
                  onnx=lambda emit, x, *, shape: emit("Expand", x, emit.constant(tupled(shape))),
                  grad=lambda g, out, x, *, shape: (g,),
                  samples=cases(normal((3, 1), shape=(2, 3, 4)), normal((), shape=3),
                                normal((1, 2), shape=(0, 2))))
broadcast_like = op("broadcast_like", spec=broadcast_like_spec,
                    forward=lambda xp, x, like: xp.broadcast_to(x, like.shape),
                    onnx=lambda emit, x, like: emit("Expand", x, emit("Shape", like)),
                    grad=lambda g, out, x, like: (g, None),
                    samples=cases(normal((3, 1), (2, 3, 4)), normal((), (2,))))
