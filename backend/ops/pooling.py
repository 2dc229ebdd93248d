"""Pooling over windows of one or two spatial dimensions, channels last, and its gradients."""
from __future__ import annotations

import math

import numpy as np

from ..errors import ParameterError, ShapeError
from ..op import op
from ..spec import Spec, floating, integer
from .emission import channels_first, channels_last
from .sliding import Sliding, blocks, cropped, padded, per_axis, sliding, window_elements

BLOCK = 1 << 20      # bytes of input worked on at a time; they are read many times


def _axes(size, pool_size, strides, padding) -> tuple[Sliding, ...]:
    """Where the windows lie; without strides they follow one another."""
    rank = len(size)
    if padding not in ("valid", "same"):
        raise ParameterError(f"there is no padding {padding!r}".replace("'", '"'),
                             fix='use "valid" or "same"')
    window = per_axis("pool_size", pool_size, rank)
    return sliding(size, window, strides=window if strides is None else strides, padding=padding)


def _index_dtype(axes, relu: bool = False) -> str:
    """The smallest integers that number a window's elements, and with ReLU none of them."""
    return "uint8" if math.prod(a.window for a in axes) + relu <= 256 else "int32"


def _padded_zeros(xp, like, axes):
    """Zeros of the padded input's shape."""
    return xp.zeros((like.shape[0], *(a.low + a.size + a.high for a in axes), like.shape[-1]),
                    like.dtype)


# ---- shapes ------------------------------------------------------------------------------------

def _spatial(x: Spec) -> tuple[int, ...]:
    """The lengths of the spatial axes."""
    floating(x)
    if len(x.shape) not in (3, 4):
        raise ShapeError("the input must be (batch, length, channels) or "
                         f"(batch, height, width, channels), not {len(x.shape)}-d")
    return x.shape[1:-1]


def _pooled(x: Spec, pool_size, strides, padding):
    """The output of pooling and its windows."""
    axes = _axes(_spatial(x), pool_size, strides, padding)
    return x.like(x.shape[0], *(a.out for a in axes), x.shape[-1]), axes


def _pool_spec(x, *, pool_size, strides, padding):
    return _pooled(x, pool_size, strides, padding)[0]


def _max_pool_spec(x, *, pool_size, strides, padding, relu):
    out, axes = _pooled(x, pool_size, strides, padding)
    return out, Spec(out.shape, np.dtype(_index_dtype(axes, relu)))


def _spread_spec(g, *, size, pool_size, strides, padding):
    _spatial(g)
    axes = _axes(size, pool_size, strides, padding)
    if g.shape[1:-1] != tuple(a.out for a in axes):
        want = ", ".join(str(a.out) for a in axes)
        raise ShapeError(f"the output's gradient must be (batch, {want}, channels), "
                         f"not {list(g.shape)}")
    return g.like(g.shape[0], *size, g.shape[-1])


def _max_pool_gradient_spec(g, indices, **settings):
    result = _spread_spec(g, **settings)
    _check_indices(indices, g.shape)
    return result


def _max_pool_select_spec(x, indices, *, pool_size, strides, padding):
    out, _ = _pooled(x, pool_size, strides, padding)
    _check_indices(indices, out.shape)
    return out


def _check_indices(indices: Spec, shape) -> None:
    """Whether the indices are those of an output of that shape."""
    integer(indices, "the indices")
    if indices.shape != shape:
        raise ShapeError(f"the indices must be {list(shape)}, not {list(indices.shape)}")


# ---- maximum -----------------------------------------------------------------------------------

def _max_pool(xp, x, *, pool_size, strides=None, padding="valid", relu=False):
    axes = _axes(x.shape[1:-1], pool_size, strides, padding)
    shape = (x.shape[0], *(a.out for a in axes), x.shape[-1])
    y, indices = xp.zeros(shape, x.dtype), xp.zeros(shape, _index_dtype(axes, relu))
    if not y.size:
        return y, indices
    has_padding = any(a.low or a.high for a in axes)
    for block in blocks(len(x), x[0].nbytes, BLOCK):
        part, largest = padded(xp, x[block], axes, -math.inf), y[block]
        values = [xp.ascontiguousarray(part[at]) for _, at in window_elements(axes)]
        largest[...] = values[0]
        for value in values[1:]:
            xp.maximum(largest, value, out=largest)
        # The position of the first maximum is the number of elements before it that miss it.
        missing = xp.ones(largest.shape, bool)
        for value, (offset, _) in zip(values[:-1], window_elements(axes)):
            miss = (value != largest) & (value == value)      # a NaN, unequal to all, is a hit
            if has_padding:                                   # never a hit, even among -inf
                miss |= ~_inside(xp, axes, offset)
            missing &= miss
            indices[block] += missing
        if relu:
            indices[block][~(largest > 0)] = math.prod(a.window for a in axes)
            largest[largest < 0] = 0
    return y, indices


def _inside(xp, axes, offset):
    """Whether an element of the windows lies on the input: bool (*out, 1)."""
    result = xp.asarray(True)
    for a, i in zip(axes, offset):
        result = result[..., None] & xp.asarray(a.inside(i))
    return result[..., None]


def _max_pool_gradient(xp, g, indices, *, size, pool_size, strides=None, padding="valid"):
    axes = _axes(size, pool_size, strides, padding)
    result = _padded_zeros(xp, g, axes)
    apart = all(a.stride >= a.window for a in axes)
    if g.size:
        for number, (_, at) in enumerate(window_elements(axes)):
            part = _masked(g, indices == number).view(g.dtype)
            if apart:                                  # windows share nothing: no sums
                result[at] = part
            else:
                result[at] += part
    return xp.ascontiguousarray(cropped(result, axes))


def _max_pool_select(xp, x, indices, *, pool_size, strides=None, padding="valid"):
    axes = _axes(x.shape[1:-1], pool_size, strides, padding)
    part = padded(xp, x, axes)
    bits = xp.zeros(indices.shape, f"int{8 * x.itemsize}")
    if bits.size:
        for number, (_, at) in enumerate(window_elements(axes)):
            bits |= _masked(part[at], indices == number)
    return bits.view(x.dtype)


def _masked(array, mask):
    """The bits of numbers where the mask is true, else of zero; branches would be slow, and a
    product with the mask would make NaN of infinity."""
    whole = f"int{8 * array.itemsize}"
    return array.view(whole) & -mask.astype(whole)


# ---- average -----------------------------------------------------------------------------------

def _shares(xp, axes, dtype):
    """One over the number of a window's elements that are not padding: (*out, 1) or one number."""
    if not any(a.low or a.high for a in axes):
        return xp.asarray(1 / math.prod(a.window for a in axes), dtype)
    counts = xp.ones((), dtype)
    for a in axes:
        here = [sum(column) for column in zip(*(a.inside(i) for i in range(a.window)))]
        counts = counts[..., None] * xp.asarray(here, dtype)
    return 1 / counts[..., None]


def _average_pool(xp, x, *, pool_size, strides=None, padding="valid"):
    axes = _axes(x.shape[1:-1], pool_size, strides, padding)
    total = xp.zeros((x.shape[0], *(a.out for a in axes), x.shape[-1]), x.dtype)
    if total.size:
        x = padded(xp, x, axes)
        for _, at in window_elements(axes):
            total += x[at]
        total *= _shares(xp, axes, x.dtype)
    return total


def _average_pool_gradient(xp, g, *, size, pool_size, strides=None, padding="valid"):
    axes = _axes(size, pool_size, strides, padding)
    result = _padded_zeros(xp, g, axes)
    if g.size:
        part = g * _shares(xp, axes, g.dtype)
        for _, at in window_elements(axes):
            result[at] += part
    return xp.ascontiguousarray(cropped(result, axes))


def _emit_pool(op_type, **attributes):
    """MaxPool or AveragePool between transposes: ONNX has channels second."""
    def emit_pool(emit, x, *, pool_size, strides, padding):
        axes = _axes(x.shape[1:-1], pool_size, strides, padding)
        y = emit(op_type, channels_first(emit, x), kernel_shape=[a.window for a in axes],
                 strides=[a.stride for a in axes],
                 pads=[*(a.low for a in axes), *(a.high for a in axes)], **attributes)
        return channels_last(emit, y, len(x.shape))
    return emit_pool


# ---- records -----------------------------------------------------------------------------------

_EXAMPLES = [
    ((2, 4, 6, 3), {"pool_size": 2}),
    ((2, 5, 7, 2), {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"}),
    ((2, 6, 5, 2), {"pool_size": 2, "strides": 3}),
    ((2, 7, 3), {"pool_size": 3, "strides": 2, "padding": "same"}),
    ((1, 20, 20, 1), {"pool_size": 17, "strides": 3}),
    ((1, 1, 1, 1), {"pool_size": 1}),
    ((0, 4, 2), {"pool_size": 2})]


def _samples(make):
    """Samples: ``make(rng, x shape, pooled Spec, windows, settings)`` for every example."""
    def sampler(rng):
        result = []
        for shape, settings in _EXAMPLES:
            given = {"strides": None, "padding": "valid", **settings}
            result.append(make(rng, shape, *_pooled(Spec(shape, np.dtype("float32")), **given),
                               settings))
        return result
    return sampler


_images = _samples(lambda rng, shape, out, axes, settings: ([rng.standard_normal(shape)], settings))


def _random_indices(rng, out: Spec, axes):
    """A position on the input for every window."""
    inside = np.stack([_inside(np, axes, offset)[..., 0] for offset, _ in window_elements(axes)],
                      -1)                                              # (*out, positions)
    chance = rng.random((out.shape[0], out.shape[-1], *inside.shape)) * inside
    return np.moveaxis(chance.argmax(-1), 1, -1).astype(_index_dtype(axes))


# The largest number of each window, and where in the window it first stands, counted row by row.
# A NaN is larger than every number. Padding, "valid" or "same", never wins. With ``relu`` what is
# below zero becomes zero, and a window whose largest is not above zero has the index behind its
# last element: the gradient is masked, too.
max_pool = op(
    "max_pool", forward=_max_pool, spec=_max_pool_spec,
    onnx=lambda emit, x, *, relu, **settings: (
        (lambda y: emit("Relu", y) if relu else y)(_emit_pool("MaxPool")(emit, x, **settings)),
        None),
    grad=lambda g, out, x, *, relu, **settings: (
        max_pool_gradient(g[0], out[1], size=x.shape[1:-1], **settings),),
    flops=lambda x, **settings: _max_pool_spec(x, **settings)[0].size * math.prod(
        per_axis("pool_size", settings["pool_size"], len(x.shape) - 2)),
    samples=lambda rng: [(arrays, {**settings, "relu": relu}) for relu in (False, True)
                         for arrays, settings in _images(rng)])

# Every g goes to where its window's maximum stood; what falls on one place adds up.
max_pool_gradient = op(
    "max_pool_gradient", forward=_max_pool_gradient, spec=_max_pool_gradient_spec,
    grad=lambda h, out, g, indices, *, size, **settings: (
        max_pool_select(h, indices, **settings), None),
    samples=_samples(lambda rng, shape, out, axes, settings: (
        [rng.standard_normal(out.shape), _random_indices(rng, out, axes)],
        {"size": shape[1:-1], **settings})))

# What the windows hold at the given positions: the gradient of `max_pool_gradient`.
max_pool_select = op(
    "max_pool_select", forward=_max_pool_select, spec=_max_pool_select_spec,
    grad=lambda g, out, x, indices, **settings: (
        max_pool_gradient(g, indices, size=x.shape[1:-1], **settings), None),
    samples=_samples(lambda rng, shape, out, axes, settings: (
        [rng.standard_normal(shape), _random_indices(rng, out, axes)], settings)))

# The mean of each window's elements on the input; padding does not count, as in Keras.
average_pool = op(
    "average_pool", forward=_average_pool, spec=_pool_spec,
    onnx=_emit_pool("AveragePool", count_include_pad=0),
    grad=lambda g, out, x, **settings: (
        average_pool_gradient(g, size=x.shape[1:-1], **settings),),
    flops=lambda x, **settings: _pool_spec(x, **settings).size * math.prod(
        per_axis("pool_size", settings["pool_size"], len(x.shape) - 2)),
    samples=_images)

# Every g in equal shares to its window's elements.
average_pool_gradient = op(
    "average_pool_gradient", forward=_average_pool_gradient, spec=_spread_spec,
    grad=lambda h, out, g, *, size, **settings: (average_pool(h, **settings),),
    samples=_samples(lambda rng, shape, out, axes, settings: (
        [rng.standard_normal(out.shape)], {"size": shape[1:-1], **settings})))
