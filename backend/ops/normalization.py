"""Batch and layer normalisation, with gradients that pass over the data few times."""
from __future__ import annotations

import numpy as np

from ..errors import ParameterError, ShapeError
from ..op import OPS, cases, normal, op
from ..spec import Spec, floating, one_dtype
from .emission import along, channels_first, channels_last
from .sliding import blocks

BLOCK = 1 << 19      # bytes worked on at a time: several passes over them stay in cache


def _blocks(x):
    """Slices of a matrix's rows."""
    return blocks(len(x), x.shape[-1] * x.itemsize, BLOCK)


def _check_channels(x: Spec, epsilon, *vectors) -> None:
    """Whether the vectors have one number per channel."""
    if not x.shape:
        raise ShapeError("needs at least one dimension, the channels")
    for name, v in vectors:
        if v is not None and v.shape != x.shape[-1:]:
            raise ShapeError(f"{name} must be [{x.shape[-1]}], one number per channel, "
                             f"not {list(v.shape)}")
    _check_epsilon(epsilon)


def _check_epsilon(epsilon) -> None:
    """Whether it can stand under the root."""
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not epsilon >= 0:
        raise ParameterError(f"epsilon must be a number from 0 on, not {epsilon!r}")


def _batch_norm_spec(x, mean, variance, gamma, beta, *, epsilon):
    floating(x, mean, variance, gamma, beta)
    _check_channels(x, epsilon, ("mean", mean), ("variance", variance), ("gamma", gamma),
                    ("beta", beta))
    return Spec(x.shape, one_dtype(x, mean, variance, gamma, beta))


def _batch_norm_sums_spec(g, x, mean):
    floating(g, x, mean)
    if g.shape != x.shape:
        raise ShapeError(f"the gradient must be {list(x.shape)}, not {list(g.shape)}")
    _check_channels(x, 0, ("mean", mean))
    return (Spec(mean.shape, one_dtype(g, x, mean)),) * 2


def _layer_norm_spec(x, gamma=None, beta=None, *, epsilon):
    given = [s for s in (x, gamma, beta) if s is not None]
    floating(*given)
    _check_channels(x, epsilon, ("gamma", gamma), ("beta", beta))
    return Spec(x.shape, one_dtype(*given))


def _layer_norm_gradient_spec(g, x, *, epsilon):
    floating(g, x)
    if g.shape != x.shape:
        raise ShapeError(f"the gradient must be {list(x.shape)}, not {list(g.shape)}")
    _check_channels(x, epsilon)
    return Spec(x.shape, one_dtype(g, x))


# ---- batch normalisation -----------------------------------------------------------------------

def _wide(x):
    """A matrix whose rows are as long as a row of pixels, and how many pixels are in each."""
    pixels = x.shape[-2] if x.ndim > 2 else 1
    return x.reshape(-1, pixels * x.shape[-1]), pixels


def _batch_norm(xp, x, mean, variance, gamma, beta, *, epsilon=1e-3):
    if not x.size:
        return xp.zeros(x.shape, x.dtype)
    matrix, pixels = _wide(x)
    mean, scale, beta = (xp.tile(v, pixels) for v in
                         (mean, gamma / xp.sqrt(variance + epsilon), beta))
    out = xp.empty(matrix.shape, x.dtype)
    for block in _blocks(matrix):
        part = out[block]
        # Not x * scale + (beta - mean * scale): that loses what is small beside the mean.
        xp.subtract(matrix[block], mean, out=part)
        part *= scale
        part += beta
    return out.reshape(x.shape)


def _batch_norm_sums(xp, g, x, mean):
    channels = x.shape[-1]
    if not x.size:
        return xp.zeros(channels, x.dtype), xp.zeros(channels, x.dtype)
    (matrix, pixels), (g, _) = _wide(x), _wide(g)
    mean = xp.tile(mean, pixels)
    total, moment = xp.zeros_like(mean), xp.zeros_like(mean)
    for block in _blocks(matrix):
        total += g[block].sum(0)
        moment += xp.einsum("nc,nc->c", matrix[block] - mean, g[block])
    return total.reshape(-1, channels).sum(0), moment.reshape(-1, channels).sum(0)


def _batch_norm_grad(g, out, x, mean, variance, gamma, beta, *, epsilon):
    inverse = OPS["rsqrt"](variance + epsilon)
    scale = gamma * inverse
    total, moment = batch_norm_sums(g, x, mean)
    return (g * scale, -(total * scale), moment * scale * inverse * inverse * -0.5,
            moment * inverse, total)


def _batch_norm_sums_grad(cotangents, out, g, x, mean):
    a, b = cotangents
    flat = None if a is None else OPS["broadcast_like"](a, g)
    if b is None:
        return flat, None, None
    tilted = b * (x - mean)
    return tilted if a is None else tilted + flat, b * g, -(b * out[0])


def _batch_squares_spec(x, mean, weights=None):
    given = [s for s in (x, mean, weights) if s is not None]
    floating(*given)
    _check_channels(x, 0, ("mean", mean))
    if weights is not None and weights.shape != x.shape[:1]:
        raise ShapeError(f"the weights have the shape {list(weights.shape)}, "
                         f"not {list(x.shape[:1])}", fix="pass one weight per sample")
    return Spec(mean.shape, one_dtype(*given))


def _batch_squares(xp, x, mean, weights=None):
    channels = x.shape[-1]
    if not x.size:
        return xp.zeros(channels, x.dtype)
    matrix, pixels = _wide(x)
    mean = xp.tile(mean, pixels)
    if weights is not None:
        weights = xp.repeat(weights, len(matrix) // len(x))[:, None]
    total = xp.zeros_like(mean)
    for block in _blocks(matrix):
        centred = matrix[block] - mean
        weighted = centred if weights is None else centred * weights[block]
        total += xp.einsum("nc,nc->c", weighted, centred)
    return total.reshape(-1, channels).sum(0)


def _batch_squares_grad(g, out, x, mean, weights=None):
    further, axes = tuple(range(1, x.ndim)), tuple(range(x.ndim - 1))
    centred = x - mean
    slope = g * 2.0 * centred
    if weights is None:
        return slope, -slope.sum(axis=axes)
    slope = slope * (OPS["expand_dims"](weights, axis=further) if further else weights)
    return slope, -slope.sum(axis=axes), (g * OPS["square"](centred)).sum(axis=further)


def _emit_batch_squares(emit, x, mean, weights=None):
    """ReduceSum of squares, after each row is multiplied by its weight."""
    centred = emit("Sub", x, mean)
    squares, further = emit("Mul", centred, centred), range(1, len(x.shape))
    if weights is not None:
        squares = emit("Mul", squares, along(emit, "Unsqueeze", weights, *further)
                       if further else weights)
    return emit("ReduceSum", squares, emit.constant(range(len(x.shape) - 1)), keepdims=0,
                noop_with_empty_axes=1)


def _emit_batch_norm(emit, x, mean, variance, gamma, beta, *, epsilon):
    """BatchNormalization at inference; ONNX's channels are the second axis."""
    if len(x.shape) < 2:
        return None
    y = emit("BatchNormalization", channels_first(emit, x), gamma, beta, mean, variance,
             epsilon=float(epsilon))
    return channels_last(emit, y, len(x.shape))


def _channel_samples(rng, shape):
    """An input and its mean, variance, scale and shift."""
    channels = shape[-1:]
    return [rng.standard_normal(shape), rng.standard_normal(channels),
            rng.uniform(0.5, 2, channels), rng.standard_normal(channels),
            rng.standard_normal(channels)]


# y = gamma (x - mean) / sqrt(variance + epsilon) + beta over the last axis' channels, for any
# statistics: the batch's, themselves nodes of the graph, in training, moving ones in inference.
# Ioffe and Szegedy, "Batch Normalization", 2015, algorithms 1 and 2.
batch_norm = op(
    "batch_norm", forward=_batch_norm, spec=_batch_norm_spec, grad=_batch_norm_grad,
    onnx=_emit_batch_norm,
    flops=lambda x, *vectors, epsilon: 3 * x.size,
    samples=lambda rng: [(_channel_samples(rng, (4, 3)), {}),
                         (_channel_samples(rng, (2, 3, 4, 5)), {"epsilon": 0.1}),
                         (_channel_samples(rng, (2, 1, 1)), {}),
                         (_channel_samples(rng, (0, 3)), {})])

# The sums over all but the channels of g and of g (x - mean), from which follow the gradients of
# `batch_norm` by its four vectors; one pass over g and x.
batch_norm_sums = op(
    "batch_norm_sums", forward=_batch_norm_sums, spec=_batch_norm_sums_spec,
    grad=_batch_norm_sums_grad, flops=lambda g, x, mean: 4 * x.size,
    samples=lambda rng: [([rng.standard_normal(s), rng.standard_normal(s),
                           rng.standard_normal(s[-1:])], {})
                         for s in ((4, 3), (2, 3, 4, 5), (1, 1), (0, 2))])


# The sum over all but the channels of (x - mean)^2, each sample weighted: what the pass
# `batch_statistics` makes of the steps in which a layer writes the variance; one pass over x.
batch_squares = op(
    "batch_squares", forward=_batch_squares, spec=_batch_squares_spec, grad=_batch_squares_grad,
    onnx=_emit_batch_squares, flops=lambda x, mean, weights=None: 4 * x.size,
    samples=lambda rng: [([rng.standard_normal(s), rng.standard_normal(s[-1:]), *more], {})
                         for s in ((4, 3), (2, 3, 4, 5), (3, 2, 1), (0, 2))
                         for more in ((), (rng.uniform(0.5, 2, s[:1]),))])


# ---- layer normalisation -----------------------------------------------------------------------

def _standardized(xp, x, epsilon, out):
    """Rows of mean zero and variance one into ``out``; their factors, (rows, 1)."""
    result = xp.subtract(x, x.mean(-1, keepdims=True), out=out)
    variance = xp.einsum("nc,nc->n", result, result) / x.shape[-1]
    inverse = (1 / xp.sqrt(variance + epsilon))[:, None]
    result *= inverse
    return inverse


def _layer_norm(xp, x, gamma=None, beta=None, *, epsilon=1e-3):
    if not x.size:
        return xp.zeros(x.shape, x.dtype)
    matrix = x.reshape(-1, x.shape[-1])
    out = xp.empty(matrix.shape, x.dtype)
    for block in _blocks(matrix):
        part = out[block]
        _standardized(xp, matrix[block], epsilon, part)
        if gamma is not None:
            part *= gamma
        if beta is not None:
            part += beta
    return out.reshape(x.shape)


def _layer_norm_gradient(xp, g, x, *, epsilon=1e-3):
    if not x.size:
        return xp.zeros(x.shape, x.dtype)
    matrix, g = x.reshape(-1, x.shape[-1]), g.reshape(-1, x.shape[-1])
    out = xp.empty(matrix.shape, x.dtype)
    for block in _blocks(matrix):
        part = out[block]
        inverse = _standardized(xp, matrix[block], epsilon, part)
        slope = (xp.einsum("nc,nc->n", g[block], part) / x.shape[-1])[:, None]
        part *= -slope
        part += g[block]
        part -= g[block].mean(-1, keepdims=True)
        part *= inverse
    return out.reshape(x.shape)


def _layer_norm_grad(g, out, x, gamma=None, beta=None, *, epsilon):
    axes = tuple(range(x.ndim - 1))
    by_x = layer_norm_gradient(g if gamma is None else g * gamma, x, epsilon=epsilon)
    if gamma is None:
        return (by_x,)
    by_gamma = (g * layer_norm(x, epsilon=epsilon)).sum(axis=axes)
    return (by_x, by_gamma) if beta is None else (by_x, by_gamma, g.sum(axis=axes))


def _layer_norm_gradient_grad(h, out, g, x, *, epsilon):
    """With s = <h, J g>: J is symmetric, so ds/dg = J h; ds/dx is the product rule.

    Per row of n numbers, s = n r (mean(h g) - mean(h) mean(g) - a b) with y = layer_norm(x),
    r = 1 / sqrt(variance + epsilon), a = mean(h y), b = mean(g y); and dr/dx = -r^2 y / n,
    da/dx = J h / n, db/dx = J g / n, where J g is this op's own output.
    """
    mean = lambda t: OPS["mean"](t, axis=-1, keepdims=True)
    y = layer_norm(x, epsilon=epsilon)
    by_g = layer_norm_gradient(h, x, epsilon=epsilon)
    centred = x - mean(x)
    r = OPS["rsqrt"](mean(centred * centred) + epsilon)
    a, b = mean(h * y), mean(g * y)
    c = mean(h * g) - mean(h) * mean(g) - a * b
    return by_g, -(r * (r * c * y + b * by_g + a * out))


def _emit_layer_norm(emit, x, gamma=None, beta=None, *, epsilon):
    """LayerNormalization, which cannot do without a scale."""
    scale = emit.constant(np.ones(x.shape[-1:]), x.dtype) if gamma is None else gamma
    return emit("LayerNormalization", x, scale, beta, axis=-1, epsilon=float(epsilon))


# y = gamma (x - mean(x)) / sqrt(variance(x) + epsilon) + beta over the last axis; gamma and beta
# may be left out. Ba, Kiros and Hinton, "Layer Normalization", 2016, equation 4.
layer_norm = op(
    "layer_norm", forward=_layer_norm, spec=_layer_norm_spec, grad=_layer_norm_grad,
    onnx=_emit_layer_norm,
    flops=lambda x, *vectors, epsilon: 7 * x.size,
    samples=lambda rng: [
        *(([rng.standard_normal(s), rng.standard_normal(s[-1:]), rng.standard_normal(s[-1:])], e)
          for s, e in (((3, 5), {}), ((2, 3, 4), {"epsilon": 0.1}), ((2, 1), {}), ((0, 3), {}))),
        ([rng.standard_normal((3, 4))], {}),
        ([rng.standard_normal((3, 4)), rng.standard_normal(4)], {})])

# J g, with J the Jacobian of x -> layer_norm(x), which is symmetric:
# r (g - mean(g) - y mean(g y)), r = 1 / sqrt(variance + epsilon), y = layer_norm(x).
layer_norm_gradient = op(
    "layer_norm_gradient", forward=_layer_norm_gradient, spec=_layer_norm_gradient_spec,
    grad=_layer_norm_gradient_grad, flops=lambda g, x, *, epsilon: 11 * x.size,
    samples=cases(*(normal(s, s) for s in ((3, 5), (2, 3, 4), (2, 1), (0, 3)))))
