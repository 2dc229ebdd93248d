"""Sums over samples and the collectives of replicas: the only places where replicas meet."""
from __future__ import annotations

import math

from ..errors import DTypeError, GradientError, ParameterError, ShapeError
from ..op import OPS, cases, normal, op
from ..spec import axes_of, one_axis, one_dtype
from .emission import along, identity

# ---- batch_sum ---------------------------------------------------------------------------------
# Whatever sums over samples is this op, weighted by the rows' weights: padding rows weigh zero and
# hold zeros, so they add nothing. A strategy completes its result over the replicas.

def batch_sum_spec(x, weights=None, *, axes, keepdims):
    """x without the axes summed over; the weights are one number per sample."""
    if x.dtype.kind == "b":
        raise DTypeError("needs numbers, not bool", fix='convert with gt.cast(x, dtype="float32")')
    axes = axes_of(axes, len(x.shape))
    if 0 not in axes:
        raise ShapeError(f"axes {axes} leave out axis 0, the samples", fix="use gt.sum")
    if weights is not None:
        one_dtype(x, weights)
        if weights.shape != x.shape[:1]:
            raise ShapeError(f"the weights have the shape {list(weights.shape)}, "
                             f"not {list(x.shape[:1])}", fix="pass one weight per sample")
    return x.like(*summed(x.shape, axes, keepdims))


def summed(shape, axes, keepdims):
    """The shape after a sum over axes."""
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape)
                 if keepdims or axis not in axes)


def batch_sum_forward(xp, x, weights=None, *, axes=(0,), keepdims=False):
    """Sum of ``weights[i] * x[i]`` over i and over the further axes."""
    axes = axes_of(axes, x.ndim)
    if weights is None:
        total = xp.sum(x, axis=axes, dtype=x.dtype)
    else:  # a product of a vector and a matrix, then what is left
        total = weights @ x.reshape(x.shape[0], math.prod(x.shape[1:]))
        if len(axes) > 1:
            further = tuple(axis - 1 for axis in axes[1:])
            total = xp.sum(total.reshape(x.shape[1:]), axis=further, dtype=x.dtype)
    return xp.asarray(total).reshape(summed(x.shape, axes, keepdims))


def batch_sum_grad(g, out, x, weights=None, *, axes, keepdims):
    """The cotangent spread over the rows and weighted; by a weight, its row's share."""
    axes = axes_of(axes, x.ndim)
    if not keepdims:
        g = OPS["expand_dims"](g, axis=axes)
    if weights is None:
        return (OPS["broadcast_like"](g, x),)
    further = tuple(range(1, x.ndim))
    column = OPS["expand_dims"](weights, axis=further) if further else weights
    share = x * g
    return (OPS["broadcast_like"](g * column, x),
            share.sum(axis=further) if further else share)


def emit_batch_sum(emit, x, weights=None, *, axes, keepdims):
    """ReduceSum, after each row is multiplied by its weight."""
    further = tuple(range(1, len(x.shape)))
    if weights is not None:
        x = x._replace(name=emit("Mul", x, along(emit, "Unsqueeze", weights, *further)
                                 if further else weights))
    return emit("ReduceSum", x, emit.constant(axes_of(axes, len(x.shape))),
                keepdims=int(keepdims))


batch_sum = op("batch_sum", forward=batch_sum_forward, spec=batch_sum_spec, grad=batch_sum_grad,
               onnx=emit_batch_sum,
               flops=lambda x, weights=None, **_: x.size * (1 if weights is None else 2),
               samples=cases(normal((4, 3)), normal((4,)), normal((4, 3), (4,)),
                             normal((4,), (4,)), normal((3, 2, 4), (3,), axes=(0, 1)),
                             normal((3, 2, 4), (3,), axes=(0, -1), keepdims=True),
                             normal((3, 2, 4), axes=(0, 1, 2)), normal((3, 2), keepdims=True),
                             normal((0, 2), (0,)), normal((1, 2), (1,)),
                             lambda rng: [([rng.integers(0, 9, (4, 2))], {})]))

# ---- collectives -------------------------------------------------------------------------------
# Each is the identity on one device; with replicas the program calls the communicator's method of
# the same name instead.

OPERATIONS = ("sum", "max", "min")


def all_reduce_spec(x, *, operation):
    """The spec of x."""
    if operation not in OPERATIONS:
        raise ParameterError(f'there is no operation "{operation}"',
                             fix=f"use one of {', '.join(OPERATIONS)}")
    return x


def all_reduce_grad(g, out, x, *, operation):
    """A sum hands its cotangent, which every replica holds whole, to each part."""
    if operation != "sum":
        raise GradientError(f"all_reduce has no gradient for {operation}", at=out.node.line)
    return (g,)


def all_gather_spec(x, *, axis):
    """The spec of x: of one replica's part."""
    one_axis(axis, len(x.shape))
    return x


def broadcast_from_spec(x, *, root):
    """The spec of x."""
    if root < 0:
        raise ParameterError(f"the root is the number of a replica, not {root}")
    return x


all_reduce = op("all_reduce", forward=lambda xp, x, *, operation="sum": x, spec=all_reduce_spec,
                grad=all_reduce_grad, onnx=identity, samples=normal((3, 4)))
all_gather = op("all_gather", forward=lambda xp, x, *, axis=0: x, spec=all_gather_spec,
                grad=lambda g, out, x, *, axis: (g,), onnx=identity, samples=normal((3, 4)))
broadcast_from = op("broadcast_from", forward=lambda xp, x, *, root=0: x,
                    spec=broadcast_from_spec, grad=lambda g, out, x, *, root: (g,), onnx=identity,
                    samples=normal((3, 4)))
