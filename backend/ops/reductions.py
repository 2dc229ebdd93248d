"""Reductions along axes, and softmax, cumulative sums and the largest entries."""
from __future__ import annotations

import math

import numpy as np

from ..errors import ParameterError, ShapeError
from ..op import OPS, cases, normal, op, positive
from ..spec import Spec, axes_of, floating, one_axis
from .elementwise import (equal, exp, flags, logical_and, numbers, ones_like, truths, where,
                          whole)
from .emission import as_type, identity

# ---- shape rules -------------------------------------------------------------------------------

def _reduced(x: Spec, *, axis, keepdims: bool) -> Spec:
    """The shape without the reduced axes, or with length one there."""
    lost = axes_of(axis, len(x.shape))
    lengths = enumerate(x.shape)
    return x.like(*(1 if i in lost else n for i, n in lengths if keepdims or i not in lost))


def _filled(x: Spec, axis) -> None:
    """Require entries to choose from or to divide by."""
    lost = axes_of(axis, len(x.shape))
    if any(x.shape[i] == 0 for i in lost):
        raise ShapeError("there is nothing to reduce: an axis has length 0")


def _total(x: Spec, *, axis, keepdims) -> Spec:
    """Sums of floats keep the type; sums of whole numbers and of bool are int64."""
    return _reduced(x, axis=axis, keepdims=keepdims)._replace(dtype=_total_dtype(x))


def _total_dtype(x) -> np.dtype:
    """The type in which entries are added up."""
    return x.dtype if x.dtype.kind == "f" else np.dtype("int64")


def _average(x: Spec, *, axis, keepdims) -> Spec:
    """Floating point only, over at least one entry."""
    floating(x)
    _filled(x, axis)
    return _reduced(x, axis=axis, keepdims=keepdims)


def _extreme(x: Spec, *, axis, keepdims) -> Spec:
    """One of the entries, so there must be one."""
    _filled(x, axis)
    return _reduced(numbers(x), axis=axis, keepdims=keepdims)


def _position(x: Spec, *, axis) -> Spec:
    """An index along one axis, or into the flattened tensor."""
    _filled(x, axis)
    if axis is not None:
        one_axis(axis, len(x.shape))
    return _reduced(x, axis=axis, keepdims=False)._replace(dtype=np.dtype("int64"))


def _normalised(x: Spec, *, axis) -> Spec:
    """The same shape; the axes must exist."""
    floating(x)
    axes_of(axis, len(x.shape))
    return x


def _all_axes_flops(x: Spec, **_) -> int:
    """One operation for each entry that is read."""
    return x.size


# ---- helpers of the gradients ------------------------------------------------------------------

def _kept(t, x, axis, keepdims=False):
    """A reduction of ``x`` with its lost axes back, of length one."""
    lost = axes_of(axis, x.ndim)
    return t if keepdims or not lost else OPS["expand_dims"](t, axis=lost)


def _spread(g, x, axis, keepdims):
    """A reduction's gradient, the same for all entries it came from."""
    return OPS["broadcast_like"](_kept(g, x, axis, keepdims), x)


# ---- in ONNX -----------------------------------------------------------------------------------
# In operator set 17 ReduceSum takes its axes as an input, the other reductions as an attribute.

def _emit_reduction(name):
    """A reduction by its ONNX name."""
    def emit_reduction(emit, x, *, axis, keepdims):
        axes = axes_of(axis, len(x.shape))
        return emit(name, x, axes=axes, keepdims=int(keepdims)) if axes else identity(emit, x)
    return emit_reduction


def _emit_total(emit, x):
    """x in the type in which entries are added up."""
    dtype = _total_dtype(x)
    return x if dtype == x.dtype else x._replace(name=as_type(emit, x, dtype), dtype=dtype)


def _emit_sum(emit, x, *, axis, keepdims):
    """The sum."""
    axes = emit.constant(axes_of(axis, len(x.shape)))
    return emit("ReduceSum", _emit_total(emit, x), axes, keepdims=int(keepdims),
                noop_with_empty_axes=1)


def _emit_count(emit, x, *, axis):
    """The product of the lengths of axes, as the model finds them when it runs."""
    lengths = emit("Gather", emit("Shape", x), emit.constant(axes_of(axis, len(x.shape))))
    return as_type(emit, emit("ReduceProd", lengths, keepdims=0), x.dtype)


def _emit_var(emit, x, *, axis, keepdims):
    """The mean squared distance from the mean."""
    reduced = _emit_reduction("ReduceMean")
    distance = emit("Sub", x, reduced(emit, x, axis=axis, keepdims=True))
    squares = x._replace(name=emit("Mul", distance, distance))
    return reduced(emit, squares, axis=axis, keepdims=keepdims)


def _emit_position(name):
    """An index along one axis, or into the flattened tensor."""
    def emit_position(emit, x, *, axis):
        flat = emit("Reshape", x, emit.constant([-1])) if axis is None else x
        return emit(name, flat, axis=axis or 0, keepdims=0)
    return emit_position


def _emit_quantifier(name):
    """The least, or the largest, of truth values as numbers."""
    def emit_quantifier(emit, x, **settings):
        numbers = x._replace(name=as_type(emit, x, "int32"))
        return as_type(emit, _emit_reduction(name)(emit, numbers, **settings), "bool")
    return emit_quantifier


def _emit_softmax(emit, x, *, axis):
    """Softmax along one axis; exponentials over their sum along several."""
    if isinstance(axis, int):
        return emit("Softmax", x, axis=axis)
    top = _emit_reduction("ReduceMax")(emit, x, axis=axis, keepdims=True)
    weights = x._replace(name=emit("Exp", emit("Sub", x, top)))
    return emit("Div", weights, _emit_sum(emit, weights, axis=axis, keepdims=True))


def _emit_log_softmax(emit, x, *, axis):
    """LogSoftmax along one axis; x minus the logarithm of the sum along several."""
    if isinstance(axis, int):
        return emit("LogSoftmax", x, axis=axis)
    return emit("Sub", x, _emit_reduction("ReduceLogSumExp")(emit, x, axis=axis, keepdims=True))


# How many entries there are along axes, as a number of the input's type: a mean's gradient divides
# by it, and a number in the settings would tie the graph to one batch size.
count = op("count", spec=lambda x, *, axis: (axes_of(axis, len(x.shape)), x.like())[1],
           forward=lambda xp, x, *, axis=None: xp.full(
               (), math.prod(x.shape[i] for i in axes_of(axis, x.ndim)), dtype=x.dtype),
           grad=lambda g, out, x, *, axis: (None,), flops=lambda x, *, axis: 0, onnx=_emit_count,
           samples=cases(normal((3, 4)), normal((3, 4), axis=0), normal((0, 2), axis=(0, 1))))

# ---- sums, means and products ------------------------------------------------------------------

sum_ = op("sum", spec=_total, flops=_all_axes_flops, onnx=_emit_sum,
          forward=lambda xp, x, *, axis=None, keepdims=False: xp.sum(
              x, axis=axis, dtype=_total_dtype(x), keepdims=keepdims),
          grad=lambda g, out, x, *, axis, keepdims: (_spread(g, x, axis, keepdims),),
          samples=cases(normal((3, 4)), normal((3, 4, 2), axis=(0, -1)),
                        normal((3, 4), axis=1, keepdims=True), normal((0, 3), axis=0),
                        normal((2, 1), axis=1), normal(()), whole((3, 4)), flags((3, 4))))

mean = op("mean", spec=_average, flops=_all_axes_flops, onnx=_emit_reduction("ReduceMean"),
          forward=lambda xp, x, *, axis=None, keepdims=False: xp.mean(
              x, axis=axis, keepdims=keepdims),
          grad=lambda g, out, x, *, axis, keepdims: (
              _spread(g / count(x, axis=axis), x, axis, keepdims),),
          samples=cases(normal((3, 4)), normal((3, 4, 2), axis=(0, -1)),
                        normal((3, 4), axis=1, keepdims=True), normal((0, 3), axis=1)))


def _var(xp, x, *, axis=None, keepdims=False):
    """Mean squared distance from the mean: two passes, so nothing large cancels."""
    distance = x - xp.mean(x, axis=axis, keepdims=True)
    return xp.mean(distance * distance, axis=axis, keepdims=keepdims)


# The population variance: it divides by the number of entries.
var = op("var", spec=_average, forward=_var, flops=lambda x, **_: 4 * x.size, onnx=_emit_var,
         grad=lambda g, out, x, *, axis, keepdims: (
             _kept(g, x, axis, keepdims) * (2.0 / count(x, axis=axis))
             * (x - mean(x, axis=axis, keepdims=True)),),
         samples=cases(normal((3, 4)), normal((3, 4, 2), axis=(0, -1)),
                       normal((3, 4), axis=1, keepdims=True), normal((2, 1), axis=1)))


def _prod_gradient(g, out, x, *, axis, keepdims):
    """The product of the others: a lone zero sees the rest, and what stands beside a zero, 0."""
    zero = equal(x, 0.0)
    others = where(zero, ones_like(x), x)
    zeros = sum_(zero, axis=axis, keepdims=True)
    whole_product = prod(others, axis=axis, keepdims=True)
    lone = logical_and(zero, equal(zeros, 1))
    slope = where(equal(zeros, 0), _kept(out, x, axis, keepdims) / others,
                  where(lone, whole_product, 0.0))
    return (_kept(g, x, axis, keepdims) * slope,)


# The second gradient is right where no factor is 0: the branches for zeros are exact themselves,
# but their derivative takes the zeros as fixed. To be exact there, too, each pair of factors would
# need a product of its own.
prod = op("prod", spec=_total, grad=_prod_gradient, flops=_all_axes_flops,
          onnx=lambda emit, x, **settings: _emit_reduction("ReduceProd")(
              emit, _emit_total(emit, x), **settings),
          forward=lambda xp, x, *, axis=None, keepdims=False: xp.prod(
              x, axis=axis, dtype=_total_dtype(x), keepdims=keepdims),
          samples=cases(positive((3, 4)), normal((2, 3, 2), axis=(0, 2)),
                        normal((3, 4), axis=1, keepdims=True), normal((0, 3), axis=0),
                        whole((2, 3))))

# ---- extremes ----------------------------------------------------------------------------------

def _extreme_gradient(g, out, x, *, axis, keepdims):
    """Entries that share the extreme share the gradient equally."""
    hit = equal(x, _kept(out, x, axis, keepdims))
    ones = where(hit, ones_like(x), 0.0)
    return (_kept(g, x, axis, keepdims) * ones / sum_(ones, axis=axis, keepdims=True),)


_EXTREME_SAMPLES = cases(normal((3, 4)), normal((3, 4, 2), axis=(0, -1)),
                         normal((3, 4), axis=1, keepdims=True), normal((0, 3), axis=1),
                         whole((3, 4)))
max_ = op("max", spec=_extreme, grad=_extreme_gradient, flops=_all_axes_flops,
          onnx=_emit_reduction("ReduceMax"),
          forward=lambda xp, x, *, axis=None, keepdims=False: xp.max(
              x, axis=axis, keepdims=keepdims), samples=_EXTREME_SAMPLES)
min_ = op("min", spec=_extreme, grad=_extreme_gradient, flops=_all_axes_flops,
          onnx=_emit_reduction("ReduceMin"),
          forward=lambda xp, x, *, axis=None, keepdims=False: xp.min(
              x, axis=axis, keepdims=keepdims), samples=_EXTREME_SAMPLES)

# The lowest index among equals; a NaN comes before all numbers.
_POSITION_SAMPLES = cases(normal((3, 4)), normal((3, 4, 2), axis=-2), normal((0, 3), axis=1))
argmax = op("argmax", spec=_position, flops=_all_axes_flops, samples=_POSITION_SAMPLES,
            onnx=_emit_position("ArgMax"),
            forward=lambda xp, x, *, axis=None: xp.argmax(x, axis=axis).astype("int64"))
argmin = op("argmin", spec=_position, flops=_all_axes_flops, samples=_POSITION_SAMPLES,
            onnx=_emit_position("ArgMin"),
            forward=lambda xp, x, *, axis=None: xp.argmin(x, axis=axis).astype("int64"))

# ---- truth values ------------------------------------------------------------------------------

def _quantifier(name, onnx_name):
    """Whether all, or any, are true."""
    return op(name, flops=_all_axes_flops, onnx=_emit_quantifier(onnx_name),
              forward=lambda xp, x, *, axis=None, keepdims=False: getattr(xp, name)(
                  x, axis=axis, keepdims=keepdims),
              spec=lambda x, *, axis, keepdims: _reduced(truths(x), axis=axis, keepdims=keepdims),
              samples=lambda rng: [(flags((3, 4))(rng)[0][0], settings) for settings in (
                  {}, {"axis": 0}, {"axis": (0, -1), "keepdims": True})])


all_, any_ = _quantifier("all", "ReduceMin"), _quantifier("any", "ReduceMax")

# ---- softmax and its relatives -----------------------------------------------------------------

def _shifted(xp, x, axis):
    """Entries minus the largest, which exp cannot overflow on, and the largest (0 if infinite)."""
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0)
    return x - top, top


def _logsumexp(xp, x, *, axis=None, keepdims=False):
    """The logarithm of the sum of exponentials."""
    shifted, top = _shifted(xp, x, axis)
    total = xp.sum(xp.exp(shifted), axis=axis, keepdims=True)
    masked = total == 0  # all entries are -infinity, and so is the result
    result = xp.where(masked, -math.inf, xp.log(xp.where(masked, 1, total)) + top)
    return result if keepdims else xp.squeeze(result, axis=axes_of(axis, x.ndim))


logsumexp = op("logsumexp", spec=_average, forward=_logsumexp, flops=lambda x, **_: 4 * x.size,
               onnx=lambda emit, x, **settings: _emit_reduction("ReduceLogSumExp")(
                   emit, x, **settings),
               grad=lambda g, out, x, *, axis, keepdims: (
                   _kept(g, x, axis, keepdims) * softmax(x, axis=axis),),
               samples=cases(normal((3, 4)), normal((3, 4, 2), axis=(0, -1)), normal(()),
                             normal((3, 4), axis=1, keepdims=True), normal((0, 3), axis=1)))


def _softmax(xp, x, *, axis=-1):
    """Exponentials divided by their sum, or zeros where that is 0."""
    if x.size == 0:
        return x
    weights = xp.exp(_shifted(xp, x, axis)[0])
    total = xp.sum(weights, axis=axis, keepdims=True)
    return weights / xp.where(total == 0, 1, total)


def _log_softmax(xp, x, *, axis=-1):
    """Logarithms of softmax without a detour by it, which could underflow."""
    if x.size == 0:
        return x
    shifted, _ = _shifted(xp, x, axis)
    total = xp.sum(xp.exp(shifted), axis=axis, keepdims=True)
    return shifted - xp.log(xp.where(total == 0, 1, total))


# exp(x) / sum(exp(x)). Where all entries are -infinity, as in a row that is masked altogether, all
# weights are 0. The axis is one, several, or None for all.
_SOFTMAX_SAMPLES = cases(normal((3, 4)), normal((3, 4, 2), axis=1), normal((2, 3, 2), axis=(1, 2)),
                         normal((0, 3)), normal((3, 1)))
softmax = op("softmax", forward=_softmax, spec=_normalised, onnx=_emit_softmax,
             flops=lambda x, **_: 5 * x.size, samples=_SOFTMAX_SAMPLES,
             grad=lambda g, out, x, *, axis: (
                 (g - sum_(g * out, axis=axis, keepdims=True)) * out,))
log_softmax = op("log_softmax", forward=_log_softmax, spec=_normalised, onnx=_emit_log_softmax,
                 flops=lambda x, **_: 5 * x.size, samples=_SOFTMAX_SAMPLES,
                 grad=lambda g, out, x, *, axis: (
                     g - exp(out) * sum_(g, axis=axis, keepdims=True),))

# ---- cumulative sums ---------------------------------------------------------------------------

def _cumsum(xp, x, *, axis=-1, reverse=False):
    """Sums of all entries up to each, or from each on."""
    forwards = xp.flip(x, axis) if reverse else x
    total = xp.cumsum(forwards, axis=axis, dtype=_total_dtype(x))
    return xp.flip(total, axis) if reverse else total


def _cumsum_spec(x: Spec, *, axis, reverse) -> Spec:
    """The same shape, in the type of sums."""
    one_axis(axis, len(x.shape))
    return Spec(x.shape, _total_dtype(x))


cumsum = op("cumsum", forward=_cumsum, spec=_cumsum_spec,
            grad=lambda g, out, x, *, axis, reverse: (cumsum(g, axis=axis, reverse=not reverse),),
            onnx=lambda emit, x, *, axis, reverse: emit(
                "CumSum", _emit_total(emit, x), emit.constant(axis), reverse=int(reverse)),
            samples=cases(normal((3, 4)), normal((3, 4), axis=0, reverse=True), normal((0, 3)),
                          whole((3, 4)), flags((4,))))

# ---- the largest entries -----------------------------------------------------------------------

def _top_k(xp, x, *, k):
    """A stable ascending sort of the reversed row, reversed: equals keep their order."""
    length = x.shape[-1]
    order = xp.argsort(xp.flip(x, -1), axis=-1, kind="stable")
    indices = (length - 1 - xp.flip(order, -1)[..., :k]).astype("int64")
    return xp.take_along_axis(x, indices, axis=-1), indices


def _top_k_spec(x: Spec, *, k) -> tuple[Spec, Spec]:
    """The last axis shortened to k."""
    if not x.shape:
        raise ShapeError("a single number has no largest entries")
    if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= x.shape[-1]:
        raise ParameterError(f"k must be a whole number from 0 to {x.shape[-1]}, the length of "
                             f"the last axis, not {k!r}")
    shape = (*x.shape[:-1], k)
    return Spec(shape, x.dtype), Spec(shape, np.dtype("int64"))


# The k largest along the last axis, largest first, and where they are; among equals the lowest
# index first; NaN counts as larger than every number.
top_k = op("top_k", forward=_top_k, spec=_top_k_spec, flops=lambda x, *, k: x.size,
           onnx=lambda emit, x, *, k: emit("TopK", x, emit.constant([k]), outputs=2),
           grad=lambda g, out, x, *, k: (OPS["put_along"](out[1], g[0], x),),
           samples=cases(normal((3, 5), k=2), normal((2, 2, 3), k=3), normal((0, 3), k=1),
                         normal((4,), k=0), lambda rng: [([rng.integers(0, 3, (3, 5))], {"k": 4})]))
