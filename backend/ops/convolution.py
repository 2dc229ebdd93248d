"""Convolution over one to three spatial dimensions, channels last, and its two gradients.

The three ops are bilinear and each one's gradients are the other two, so every order exists. With
``<,>`` the sum of products, all three are read off one trilinear form::

    <convolution(x, k), g> = <x, data_gradient(g, k)> = <k, kernel_gradient(x, g)>

Forward is one matrix product per block of samples: the windows are copied to the rows of a matrix
of columns ("im2col"; Chellapilla, Puri and Simard, 2006). The blocks are small enough for the
columns to stay in cache.
"""
from __future__ import annotations

import math

import numpy as np

from ..errors import ParameterError, ShapeError
from ..op import op
from ..spec import Spec, floating, one_dtype
from . import depthwise
from .emission import channels_first, channels_last
from .sliding import blocks, cropped, padded, sliding, window_elements

BLOCK = 1 << 22      # bytes of columns made at a time: between 2 and 4 MB was fastest
NARROW = 16          # so few contiguous numbers are slow to copy, and few columns to multiply


# ---- shapes ------------------------------------------------------------------------------------

def _check(x_shape, kernel_shape, groups) -> None:
    """Whether input and kernel fit together."""
    if not isinstance(groups, int) or groups < 1:
        raise ParameterError(f"groups must be a positive whole number, not {groups!r}")
    rank = len(x_shape) - 2
    if rank not in (1, 2, 3):
        raise ShapeError("the input must be (batch, length, channels), (batch, height, width, "
                         f"channels) or (batch, depth, height, width, channels), not "
                         f"{len(x_shape)}-d")
    if len(kernel_shape) != len(x_shape):
        raise ShapeError(f"the kernel must have {rank + 2} dimensions, not {len(kernel_shape)}",
                         fix="its shape is (*window, channels // groups, filters)")
    channels, (depth, filters) = x_shape[-1], kernel_shape[-2:]
    for name, n in (("channels", channels), ("filters", filters)):
        if n % groups:
            raise ShapeError(f"{n} {name} cannot be divided into {groups} groups",
                             fix=f"use a number of groups that divides {n}")
    if depth * groups != channels:
        raise ShapeError(f"the kernel is for {depth * groups} channels and the input has "
                         f"{channels}",
                         fix=f"the kernel's shape is (*window, {channels // groups}, filters)")


def _check_output(g: Spec, axes, filters: int) -> None:
    """Whether a cotangent has the shape of the convolution's output."""
    want = (*(a.out for a in axes), filters)
    if g.shape[1:] != want:
        raise ShapeError(f"the output's gradient must be (batch, {', '.join(map(str, want))}), "
                         f"not {list(g.shape)}")


def _convolution_spec(x, kernel, *, groups, **sliding_settings):
    floating(x, kernel)
    _check(x.shape, kernel.shape, groups)
    axes = sliding(x.shape[1:-1], kernel.shape[:-2], **sliding_settings)
    return Spec((x.shape[0], *(a.out for a in axes), kernel.shape[-1]), one_dtype(x, kernel))


def _data_gradient_spec(g, kernel, *, size, groups, **sliding_settings):
    floating(g, kernel)
    depth = kernel.shape[-2] if len(kernel.shape) > 1 else 1
    shape = (*g.shape[:1], *size, depth * groups)
    _check(shape, kernel.shape, groups)
    axes = sliding(size, kernel.shape[:-2], **sliding_settings)
    _check_output(g, axes, kernel.shape[-1])
    return Spec(shape, one_dtype(g, kernel))


def _kernel_gradient_spec(x, g, *, window, groups, **sliding_settings):
    floating(x, g)
    shape = (*window, x.shape[-1] // groups if groups else 0, g.shape[-1])
    _check(x.shape, shape, groups)
    _check_output(g, sliding(x.shape[1:-1], window, **sliding_settings), g.shape[-1])
    if x.shape[0] != g.shape[0]:
        raise ShapeError(f"the batches differ, {x.shape[0]} and {g.shape[0]}")
    return Spec(shape, one_dtype(x, g))


# ---- the matrix of columns ---------------------------------------------------------------------

def _columns(xp, x, axes, groups):
    """The windows as rows of matrices, one per group: (groups, batch * out, window * depth)."""
    rank = len(axes)
    x = padded(xp, x, axes)
    x = x.reshape(*x.shape[:-1], groups, -1)
    view = xp.windows(x, tuple(a.reach for a in axes), tuple(range(1, rank + 1)))
    view = view[(slice(None), *(slice(None, None, a.stride) for a in axes), slice(None),
                 slice(None), *(slice(None, None, a.dilation) for a in axes))]
    group, depth = rank + 1, rank + 2           # (batch, *out, groups, depth, *window)
    rows = tuple(range(rank + 1))
    columns = (*range(rank + 3, 2 * rank + 3), depth)
    width = view.shape[depth] * math.prod(a.window for a in axes)
    # NumPy copies run by run, and a run is what is contiguous on both sides: a row of the window
    # and its channels, or, when these are few, a row of the output in the transposed matrix.
    if view.shape[depth] * axes[-1].window < NARROW:
        return view.transpose(group, *columns, *rows).reshape(groups, width, -1).swapaxes(1, 2)
    return view.transpose(group, *rows, *columns).reshape(groups, -1, width)


def _grouped(array, groups):
    """Channels last to groups first: (groups, batch * out, channels // groups)."""
    return array.reshape(-1, groups, array.shape[-1] // groups).swapaxes(0, 1)


def _grouped_kernel(kernel, groups):
    """A kernel's matrices, one per group: (groups, window * depth, filters // groups)."""
    rows = math.prod(kernel.shape[:-1])
    return kernel.reshape(rows, groups, kernel.shape[-1] // groups).swapaxes(0, 1)


def _is_depthwise(groups: int, kernel_shape) -> bool:
    """One input channel per group."""
    return groups > 1 and kernel_shape[-2] == 1


# ---- forward -----------------------------------------------------------------------------------

def _convolution(xp, x, kernel, *, strides=1, padding="valid", dilation=1, groups=1):
    axes = sliding(x.shape[1:-1], kernel.shape[:-2], strides=strides, padding=padding,
                   dilation=dilation)
    shape = (x.shape[0], *(a.out for a in axes), kernel.shape[-1])
    if not math.prod(shape) or not kernel.size:
        return xp.zeros(shape, x.dtype)
    if _is_depthwise(groups, kernel.shape):
        return depthwise.forward(xp, x, kernel, axes)
    out = xp.empty(shape, x.dtype)
    spots = math.prod(a.out for a in axes)
    matrix = _grouped_kernel(kernel, groups)
    row_bytes = math.prod(kernel.shape[:-1]) * groups * x.itemsize
    for block in blocks(len(x), spots * row_bytes, BLOCK):
        columns = _columns(xp, x[block], axes, groups)
        xp.matmul(columns, matrix, out=_grouped(out[block], groups))
    return out


def _data_gradient(xp, g, kernel, *, size, strides=1, padding="valid", dilation=1, groups=1):
    axes = sliding(size, kernel.shape[:-2], strides=strides, padding=padding, dilation=dilation)
    depth, filters = kernel.shape[-2:]
    shape = (g.shape[0], *size, depth * groups)
    if not g.size or not kernel.size:
        return xp.zeros(shape, g.dtype)
    if _is_depthwise(groups, kernel.shape):
        return depthwise.data_gradient(xp, g, kernel, axes, shape[-1])
    around = tuple((a.reach - 1 - a.low, a.size + a.low - a.out) for a in axes)
    if shape[-1] >= NARROW and all(a.stride == 1 for a in axes) and min(map(min, around)) >= 0:
        # The full correlation with the flipped kernel, channels and filters swapped.
        flipped = kernel[(slice(None, None, -1),) * len(axes)]
        flipped = flipped.reshape(*flipped.shape[:-1], groups, -1)
        flipped = xp.swapaxes(flipped, -1, -3).reshape(*kernel.shape[:-2], -1, depth * groups)
        return _convolution(xp, g, flipped, padding=around, dilation=dilation, groups=groups)
    result = xp.zeros((g.shape[0], *(a.low + a.size + a.high for a in axes), depth * groups),
                      g.dtype)
    window = kernel.shape[:-2]
    # (groups, window, filters // groups, depth): one product per offset, added where it came from
    matrices = kernel.reshape(-1, depth, groups, filters // groups).transpose(2, 0, 3, 1)
    spots = math.prod(a.out for a in axes)
    nbytes = math.prod(window) * depth * groups * spots * g.itemsize
    for block in blocks(len(g), nbytes, BLOCK):
        part, target = g[block], result[block]
        products = xp.matmul(_grouped(part, groups)[:, None], matrices)
        products = products.reshape(groups, *window, *part.shape[:-1], depth)
        target = target.reshape(*target.shape[:-1], groups, depth)
        for offset, at in window_elements(axes):
            target[at] += xp.moveaxis(products[(slice(None), *offset)], 0, -2)
    return xp.ascontiguousarray(cropped(result, axes))


def _kernel_gradient(xp, x, g, *, window, strides=1, padding="valid", dilation=1, groups=1):
    axes = sliding(x.shape[1:-1], window, strides=strides, padding=padding, dilation=dilation)
    depth, filters = x.shape[-1] // groups, g.shape[-1]
    shape = (*window, depth, filters)
    if not g.size or not x.size:
        return xp.zeros(shape, x.dtype)
    if _is_depthwise(groups, shape):
        return depthwise.kernel_gradient(xp, x, g, axes)
    spots = math.prod(a.out for a in axes)
    total = xp.zeros((groups, math.prod(window) * depth, filters // groups), x.dtype)
    nbytes = spots * math.prod(window) * x.shape[-1] * x.itemsize
    for block in blocks(len(x), nbytes, BLOCK):
        columns = _columns(xp, x[block], axes, groups)
        total += xp.matmul(columns.swapaxes(1, 2), _grouped(g[block], groups))
    return xp.ascontiguousarray(total.swapaxes(0, 1)).reshape(shape)


def _emit_data_gradient(emit, g, kernel, *, size, groups, **sliding_settings):
    """ConvTranspose between transposes, the kernel's filters first."""
    ndim, axes = len(g.shape), sliding(size, kernel.shape[:-2], **sliding_settings)
    turned = emit("Transpose", kernel, perm=(ndim - 1, ndim - 2, *range(ndim - 2)))
    rest = [a.size + a.low + a.high - a.stride * (a.out - 1) - a.reach for a in axes]
    y = emit("ConvTranspose", channels_first(emit, g), turned, group=groups,
             strides=[a.stride for a in axes], dilations=[a.dilation for a in axes],
             output_padding=rest, pads=[*(a.low for a in axes), *(a.high for a in axes)])
    return channels_last(emit, y, ndim)


def _emit_convolution(emit, x, kernel, *, groups, **sliding_settings):
    """Conv between transposes: ONNX has channels second, and filters first in the kernel."""
    ndim, axes = len(x.shape), sliding(x.shape[1:-1], kernel.shape[:-2], **sliding_settings)
    turned = emit("Transpose", kernel, perm=(ndim - 1, ndim - 2, *range(ndim - 2)))
    y = emit("Conv", channels_first(emit, x), turned, group=groups,
             strides=[a.stride for a in axes], dilations=[a.dilation for a in axes],
             pads=[*(a.low for a in axes), *(a.high for a in axes)])
    return channels_last(emit, y, ndim)


# ---- records -----------------------------------------------------------------------------------

def _multiply_adds(spots: Spec, window, depth: int) -> int:
    """Two operations per output element, window element and input channel of its group."""
    return 2 * spots.size * math.prod(window) * depth


_EXAMPLES = (  # x shape, kernel shape, settings
    ((2, 5, 6, 3), (3, 2, 3, 4), {}),
    ((2, 6, 5, 2), (3, 3, 2, 3), {"strides": 2, "padding": "same"}),
    ((2, 7, 7, 4), (3, 3, 2, 6), {"dilation": (2, 1), "groups": 2, "padding": "same"}),
    ((2, 5, 5, 3), (3, 3, 1, 6), {"groups": 3, "padding": "same", "strides": (1, 2)}),
    ((3, 4, 4, 20), (2, 2, 20, 3), {"padding": ((0, 1), (2, 1))}),
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((0, 4, 4, 2), (3, 3, 2, 2), {}),
    ((2, 7, 3), (3, 3, 4), {"padding": "causal", "dilation": 2}),
    ((2, 8, 2), (3, 2, 3), {"strides": 3}),
    ((2, 3, 4, 5, 2), (2, 3, 2, 2, 3), {"padding": "same", "strides": (1, 2, 1)}),
    ((1, 3, 3, 4, 2), (2, 2, 2, 1, 4), {"groups": 2, "dilation": (1, 1, 2)}))


def _samples(shapes, extra):
    """Samples of one of the three: the shapes of its inputs, and settings beside the shared."""
    def sampler(rng):
        result = []
        for x, kernel, settings in _EXAMPLES:
            every = {"strides": 1, "padding": "valid", "dilation": 1, "groups": 1, **settings}
            specs = Spec(x, np.dtype("float32")), Spec(kernel, np.dtype("float32"))
            g = _convolution_spec(*specs, **every).shape
            result.append(([rng.standard_normal(s) for s in shapes(x, kernel, g)],
                           {**extra(x, kernel), **settings}))
        return result
    return sampler


# Inputs x (batch, *size, channels) and kernel (*window, channels // groups, filters), output
# (batch, *out, filters): out[n, o, f] is the sum over w, c of
# x[n, o * strides + w * dilation - low, c] kernel[w, c, f], with c in the group of f. The window
# is not flipped, as in Keras. Settings as in `sliding`; groups == channels is depthwise.
convolution = op(
    "convolution", forward=_convolution, spec=_convolution_spec, onnx=_emit_convolution,
    grad=lambda g, out, x, kernel, **settings: (
        convolution_data_gradient(g, kernel, size=x.shape[1:-1], **settings),
        convolution_kernel_gradient(x, g, window=kernel.shape[:-2], **settings)),
    flops=lambda x, kernel, **settings: _multiply_adds(
        _convolution_spec(x, kernel, **settings), kernel.shape[:-2], kernel.shape[-2]),
    samples=_samples(lambda x, kernel, g: (x, kernel), lambda x, kernel: {}))

# From g, shaped like the output, and the kernel: the gradient by x, of spatial ``size``. Known as
# transposed convolution where it is a layer's formula.
convolution_data_gradient = op(
    "convolution_data_gradient", forward=_data_gradient, spec=_data_gradient_spec,
    onnx=_emit_data_gradient,
    grad=lambda h, out, g, kernel, *, size, **settings: (
        convolution(h, kernel, **settings),
        convolution_kernel_gradient(h, g, window=kernel.shape[:-2], **settings)),
    flops=lambda g, kernel, **settings: _multiply_adds(g, kernel.shape[:-2], kernel.shape[-2]),
    samples=_samples(lambda x, kernel, g: (g, kernel), lambda x, kernel: {"size": x[1:-1]}))

# From x and g: the gradient by the kernel, whose spatial sizes are ``window``.
convolution_kernel_gradient = op(
    "convolution_kernel_gradient", forward=_kernel_gradient, spec=_kernel_gradient_spec,
    grad=lambda h, out, x, g, *, window, **settings: (
        convolution_data_gradient(g, h, size=x.shape[1:-1], **settings),
        convolution(x, h, **settings)),
    flops=lambda x, g, *, window, groups, **settings: _multiply_adds(
        g, window, x.shape[-1] // groups),
    samples=_samples(lambda x, kernel, g: (x, g), lambda x, kernel: {"window": kernel[:-2]}))
