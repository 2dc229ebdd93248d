"""Random ops: functions of seed, stream, step and a sample's position in the global batch.

Every draw is a function of four numbers, so a run can be repeated, resumed, or split over
replicas. ``seed`` and ``step`` are 0-d int64 tensors; ``offset``, another one, is the position of
the first row in the global batch (`row_offset` computes it); ``stream`` is the fixed number of
the layer or parameter that draws. Element ``position`` of row ``row`` has the number
``(offset + row) * elements_per_row + position``; four consecutive numbers share a Philox block.
Integer draws are equal on all backends; floating-point ones, made from them, to rounding.
"""
from __future__ import annotations

import math

import numpy as np

from ..array_module import numpy_module
from ..errors import DTypeError, ParameterError, ShapeError, unknown_name
from ..op import op
from ..spec import Spec, floating, one_axis
from .philox import blocks

INT64 = np.dtype("int64")


def counters(*specs: Spec) -> None:
    """Require seed, step and offset to be 0-d int64."""
    for spec in specs:
        if spec.shape:
            raise ShapeError("seed, step and offset are single numbers")
        if spec.dtype != INT64:
            raise DTypeError(f"seed, step and offset are int64, not {spec.dtype}",
                             fix="pass gt.constant(1), or an int64 variable")


def words_like(xp, shape, seed, step, offset, stream, convert=lambda words: words):
    """Random words of a shape; ``convert`` maps whole blocks (n, 4) before rows are cut out."""
    shape = Spec.of(shape).shape
    size, row = math.prod(shape), math.prod(shape[1:])
    first = xp.asarray(offset) * row
    if row % 4 == 0:  # rows begin with a block
        words = convert(blocks(xp, seed, step, stream, first // 4, size // 4))
        return words.reshape(shape)
    words = convert(blocks(xp, seed, step, stream, first // 4, (size + 3) // 4 + 1))
    return xp.take(words.reshape(-1), xp.arange(size) + first % 4).reshape(shape)


# ---- distributions -----------------------------------------------------------------------------
# Each makes numbers of a dtype from blocks of words; the same number in every dtype, to rounding.

def uniform_from(xp, words, dtype):
    """Numbers in [0, 1): multiples of 2**-32 in float64, of 2**-24 below it."""
    if dtype == "float64":
        return words * 2.0 ** -32
    return ((words >> 8).astype("float32") * 2.0 ** -24).astype(dtype, copy=False)


def normal_from(xp, words, dtype):
    """Standard normal numbers, two from two words.

    Box and Muller, "A note on the generation of random normal deviates", 1958. Logarithm, root,
    sine and cosine are well conditioned here, so backends agree to rounding; the inverse error
    function is not, in the tails.
    """
    work = "float64" if dtype == "float64" else "float32"
    unit = words.astype(work)
    radius = xp.sqrt(-2.0 * xp.log((unit[:, 0::2] + 1.0) * 2.0 ** -32))
    angle = unit[:, 1::2] * (2.0 * math.pi * 2.0 ** -32)
    unit[:, 0::2] = radius * xp.cos(angle)
    unit[:, 1::2] = radius * xp.sin(angle)
    return unit.astype(dtype, copy=False)


def truncated_from(xp, words, dtype):
    """Standard normal numbers within two standard deviations, by the inverse distribution."""
    if dtype == "float64":
        unit = words * 2.0 ** -31 + (2.0 ** -32 - 1.0)   # in (-1, 1) and symmetric about 0
    else:
        unit = (words >> 8).astype("float32") * 2.0 ** -23 + (2.0 ** -24 - 1.0)
    unit *= math.erf(math.sqrt(2.0))
    return (xp.erfinv(unit) * math.sqrt(2.0)).astype(dtype, copy=False)


def random_bits_spec(seed, step, offset, *, shape, stream):
    """Unsigned words of the shape asked for."""
    counters(seed, step, offset)
    return Spec.of(shape, "uint32")


def number_spec(seed, step, offset, *, shape, stream, dtype, **numbers):
    """Floating-point numbers of the shape asked for."""
    counters(seed, step, offset)
    spec = Spec.of(shape, dtype)
    floating(spec)
    if not all(math.isfinite(value) for value in numbers.values()):
        raise ParameterError("the bounds, mean and deviation must be finite")
    if numbers.get("stddev", 0.0) < 0.0:
        raise ParameterError(f"the standard deviation must not be negative, {numbers['stddev']}")
    if numbers.get("low", 0.0) > numbers.get("high", 1.0):
        raise ParameterError(f"low must not be above high, {numbers['low']} and {numbers['high']}")
    return spec


def random_uniform_forward(xp, seed, step, offset, *, shape, stream, dtype="float32", low=0.0,
                           high=1.0):
    """``low + u * (high - low)``; what rounding lifts to ``high`` becomes ``low``."""
    dtype = np.dtype(dtype)
    unit = words_like(xp, shape, seed, step, offset, stream,
                      lambda words: uniform_from(xp, words, dtype))
    if (low, high) == (0.0, 1.0) and dtype != "float16":
        return unit
    spread = unit * (high - low) + low
    return xp.where(spread < high, spread, xp.full_like(spread, low))


def normal_forward(convert):
    """The forward of a distribution with a mean and a standard deviation."""
    def forward(xp, seed, step, offset, *, shape, stream, dtype="float32", mean=0.0, stddev=1.0):
        unit = words_like(xp, shape, seed, step, offset, stream,
                          lambda words: convert(xp, words, np.dtype(dtype)))
        unit *= stddev
        unit += mean
        return unit
    return forward


def counted(*arrays, **settings):
    """Samples: arrays, then seed 7, step 3 and offset 2."""
    return ([*arrays, *(np.array(n, INT64) for n in (7, 3, 2))], settings)


random_bits = op("random_bits", spec=random_bits_spec,
                 forward=lambda xp, seed, step, offset, *, shape, stream:
                 words_like(xp, shape, seed, step, offset, stream),
                 samples=lambda rng: [counted(shape=(3, 4), stream=1),
                                      counted(shape=(3, 5), stream=1), counted(shape=(), stream=2),
                                      counted(shape=(0, 3), stream=1)])
random_uniform = op("random_uniform", forward=random_uniform_forward, spec=number_spec,
                    samples=lambda rng: [counted(shape=(4, 3), stream=1),
                                         counted(shape=(4, 4), stream=1, low=-2.0, high=3.0),
                                         counted(shape=5, stream=1, dtype="float64")])
random_normal = op("random_normal", forward=normal_forward(normal_from), spec=number_spec,
                   samples=lambda rng: [counted(shape=(4, 3), stream=1),
                                        counted(shape=(2, 4), stream=1, mean=2.0, stddev=3.0),
                                        counted(shape=(), stream=1, dtype="float64")])
truncated_normal = op("truncated_normal", forward=normal_forward(truncated_from),
                      spec=number_spec,
                      samples=lambda rng: [counted(shape=(4, 3), stream=1),
                                           counted(shape=(2, 4), stream=1, mean=2.0, stddev=3.0)])


# ---- noise of the shape of a tensor ------------------------------------------------------------

def dropout_mask_forward(xp, x, seed, step, offset, *, rate, stream, shared_axes=()):
    """0 with probability ``rate``, else ``1 / (1 - rate)``; one draw along the shared axes.

    Srivastava et al., "Dropout", 2014; the mean is 1.
    """
    if rate == 0.0:
        return xp.ones(x.shape, dtype=x.dtype)
    shared = {axis % x.ndim for axis in shared_axes}
    shape = tuple(1 if axis in shared else n for axis, n in enumerate(x.shape))
    words = words_like(xp, shape, seed, step, offset, stream)
    mask = (words >= min(round(rate * 2.0 ** 32), 2 ** 32 - 1)).astype(x.dtype)
    mask *= 1.0 / (1.0 - rate)
    return xp.broadcast_to(mask, x.shape)


def dropout_mask_spec(x, seed, step, offset, *, rate, stream, shared_axes):
    """The spec of x."""
    floating(x)
    counters(seed, step, offset)
    if not 0.0 <= rate < 1.0:
        raise ParameterError(f"the rate must be at least 0 and below 1, not {rate}")
    if any(one_axis(axis, len(x.shape)) == 0 for axis in shared_axes):
        raise ShapeError("axis 0 cannot be shared: each sample has a draw of its own")
    return x


def normal_like_forward(xp, x, seed, step, offset, *, stream, stddev=1.0):
    """Normal numbers of mean 0 with the shape and dtype of x."""
    unit = words_like(xp, x.shape, seed, step, offset, stream,
                      lambda words: normal_from(xp, words, x.dtype))
    unit *= stddev
    return unit


def normal_like_spec(x, seed, step, offset, *, stream, stddev):
    """The spec of x."""
    return number_spec(seed, step, offset, shape=x.shape, stream=stream, dtype=x.dtype,
                       stddev=stddev)


# Only the shape of x matters, so no gradient flows through either.
dropout_mask = op("dropout_mask", forward=dropout_mask_forward, spec=dropout_mask_spec,
                  grad=lambda g, out, *inputs, **settings: (None,) * 4,
                  samples=lambda rng: [
                      counted(rng.standard_normal((3, 5)), rate=0.4, stream=1),
                      counted(rng.standard_normal((2, 3, 4)), rate=0.5, stream=1,
                              shared_axes=(1,)),
                      counted(rng.standard_normal((2, 4)), rate=0.0, stream=1)])
normal_like = op("normal_like", forward=normal_like_forward, spec=normal_like_spec,
                 grad=lambda g, out, *inputs, **settings: (None,) * 4,
                 samples=lambda rng: [
                     counted(rng.standard_normal((3, 5)), stream=1),
                     counted(rng.standard_normal((2, 3, 4)), stream=1, stddev=0.1)])


def permutation_forward(xp, seed, step, *, n, stream):
    """The order of n random words; equal words stay in the order of their positions."""
    words = words_like(xp, (n,), seed, step, xp.zeros((), dtype=xp.int64), stream)
    return xp.argsort(words, kind="stable").astype(xp.int64, copy=False)


def permutation_spec(seed, step, *, n, stream):
    """A vector of n positions."""
    counters(seed, step)
    return Spec.of(n, "int64")


permutation = op("permutation", forward=permutation_forward, spec=permutation_spec,
                 samples=lambda rng: [(counted(n=10, stream=1)[0][:2], {"n": 10, "stream": 1}),
                                      (counted(n=1, stream=1)[0][:2], {"n": 1, "stream": 1})])

DRAWS = {"uniform": random_uniform, "normal": random_normal, "truncated_normal": truncated_normal}


def draw(kind: str, shape, dtype, seed: int, stream: int, **settings) -> np.ndarray:
    """Random numbers as a NumPy array, outside any graph: the first values of parameters.

    Parameters
    ----------
    kind : {"uniform", "normal", "truncated_normal"}
        The distribution.
    shape : int or tuple of int
        Axis lengths.
    dtype : str or dtype
        A floating-point element type; the numbers are the same in each, to rounding.
    seed : int
        Any whole number; its lowest 64 bits count.
    stream : int
        The parameter's own number; its lowest 32 bits count.
    **settings
        ``low``, ``high``, or ``mean``, ``stddev`` (of the normal distribution before it is cut
        off at two standard deviations, for ``"truncated_normal"``).

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    UnknownNameError, ParameterError, DTypeError, ShapeError
        For a kind, setting, dtype or shape that cannot be.

    Examples
    --------
    >>> draw("uniform", (2, 3), "float32", seed=0, stream=1, low=-1.0, high=1.0).shape
    (2, 3)
    """
    if kind not in DRAWS:
        raise unknown_name("distribution", kind, DRAWS)
    chosen = DRAWS[kind]
    settings = chosen.settle({"shape": shape, "dtype": dtype, "stream": stream, **settings})
    seed = np.array(seed % 2 ** 64, np.uint64).astype(INT64)
    zero = np.zeros((), INT64)
    spec = chosen.spec(Spec((), INT64), Spec((), INT64), Spec((), INT64), **settings)
    settings["shape"] = spec.shape
    return chosen.forward(numpy_module, seed, zero, zero, **settings)
