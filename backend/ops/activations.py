"""Activations: every one Keras 3 has, under its name, and the lookup by name."""
from __future__ import annotations

from math import inf, pi, sqrt as root
from typing import Callable

from ..errors import ParameterError, ShapeError
from ..named import entry
from ..op import OPS, Op, cases, normal, op
from ..spec import Spec, floating, one_axis, same, same_float
from .elementwise import (abs_, erf, exp, greater, less, less_equal, logical_and, not_equal,
                          sign, sqrt, square, tanh, where)
from .reductions import log_softmax, softmax, sum_

# NaN stays NaN. At a kink the gradient is 0 if one side is flat, else the one from the left.


def _settings(at_least: float = -inf, above: float = -inf, fix: str = "") -> Callable:
    """A spec for one floating-point input and settings that are numbers in a range."""
    def spec(x: Spec, **settings) -> Spec:
        for name, value in settings.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                raise ParameterError(f"{name} must be a number, not {value!r}")
            if value < at_least or value <= above != -inf:
                bound = f"above {above:g}" if above != -inf else f"{at_least:g} or more"
                raise ParameterError(f"{name} must be {bound}, not {value}", fix=fix)
        return same_float(x)
    return spec


def _clipped(emit, x, low, high):
    """ONNX's Clip between two numbers."""
    return emit("Clip", x, emit.constant(low, x.dtype), emit.constant(high, x.dtype))


def _within(low, high, out, g):
    """The gradient where the output is strictly inside its bounds."""
    return where(logical_and(greater(out, low), less(out, high)), g, 0.0)


# ---- piecewise linear --------------------------------------------------------------------------

relu = op("relu", forward=lambda xp, x: xp.where(x < 0, 0, x), spec=same, onnx="Relu",
          code="{0} < 0 ? 0 : {0}", grad=lambda g, out, x: (where(greater(out, 0.0), g, 0.0),),
          samples=cases(normal((5, 3)), lambda rng: [([rng.integers(-9, 9, (3, 4))], {})]))
relu6 = op("relu6", forward=lambda xp, x: xp.where(x < 0, 0, xp.where(x > 6, 6, x)), spec=same,
           onnx=lambda emit, x: _clipped(emit, x, 0, 6),
           code="{0} < 0 ? 0 : {0} > 6 ? 6 : {0}",
           grad=lambda g, out, x: (_within(0.0, 6.0, out, g),),
           samples=lambda rng: [([rng.normal(3.0, 4.0, (5, 3))], {})])
leaky_relu = op(
    "leaky_relu", spec=_settings(), code="{0} < 0 ? {negative_slope} * {0} : {0}",
    onnx=lambda emit, x, *, negative_slope: emit("LeakyRelu", x, alpha=float(negative_slope)),
    forward=lambda xp, x, *, negative_slope=0.2: xp.where(x < 0, negative_slope * x, x),
    grad=lambda g, out, x, *, negative_slope: (
        where(less_equal(x, 0.0), g * negative_slope, g),),
    samples=cases(normal((5, 3)), normal((4,), negative_slope=0.0)))
hard_tanh = op("hard_tanh", spec=same_float, code="{0} < -1 ? -1 : {0} > 1 ? 1 : {0}",
               forward=lambda xp, x: xp.clip(x, -1, 1),
               onnx=lambda emit, x: _clipped(emit, x, -1, 1),
               grad=lambda g, out, x: (_within(-1.0, 1.0, out, g),), samples=normal((5, 3)))
hard_sigmoid = op("hard_sigmoid", spec=same_float,
                  code="{0} < -3 ? 0 : {0} > 3 ? 1 : {0} / 6 + 0.5",
                  forward=lambda xp, x: xp.clip(x / 6 + 0.5, 0, 1),
                  onnx=lambda emit, x: emit("HardSigmoid", x, alpha=1 / 6, beta=0.5),
                  grad=lambda g, out, x: (_within(0.0, 1.0, out, g / 6.0),),
                  samples=lambda rng: [([rng.normal(0.0, 3.0, (5, 3))], {})])
sparse_sigmoid = op("sparse_sigmoid", spec=same_float,
                    code="{0} < -1 ? 0 : {0} > 1 ? 1 : 0.5 * ({0} + 1)",
                    forward=lambda xp, x: 0.5 * (xp.clip(x, -1, 1) + 1),
                    grad=lambda g, out, x: (_within(0.0, 1.0, out, 0.5 * g),),
                    samples=normal((5, 3)))
soft_shrink = op(
    "soft_shrink", spec=_settings(at_least=0.0),
    code="{0} > {threshold} ? {0} - {threshold} : {0} + {threshold} < 0 ? {0} + {threshold} : "
         "{0} != {0} ? {0} : 0",
    forward=lambda xp, x, *, threshold=0.5: x - xp.clip(x, -threshold, threshold),
    onnx=lambda emit, x, *, threshold: emit("Shrink", x, lambd=float(threshold),
                                            bias=float(threshold)),
    grad=lambda g, out, x, *, threshold: (where(not_equal(out, 0.0), g, 0.0),),
    samples=cases(normal((5, 3)), normal((4,), threshold=0.1)))
hard_shrink = op(
    "hard_shrink", spec=_settings(at_least=0.0), code="abs({0}) <= {threshold} ? 0 : {0}",
    forward=lambda xp, x, *, threshold=0.5: xp.where(xp.abs(x) <= threshold, 0, x),
    onnx=lambda emit, x, *, threshold: emit("Shrink", x, lambd=float(threshold), bias=0.0),
    grad=lambda g, out, x, *, threshold: (where(less_equal(abs_(x), threshold), 0.0, g),),
    samples=cases(normal((5, 3)), normal((4,), threshold=0.1)))
threshold = op(
    "threshold", spec=_settings(), code="{0} <= {threshold} ? {value} : {0}",
    forward=lambda xp, x, *, threshold, value: xp.where(x <= threshold, value, x),
    grad=lambda g, out, x, *, threshold, value: (where(less_equal(x, threshold), 0.0, g),),
    samples=normal((5, 3), threshold=0.1, value=-2.0))

# ---- sigmoid, softplus and their products ------------------------------------------------------
# Written in exp(-abs(x)), which is at most 1, they cannot overflow and are accurate in both tails.

_DECAY = "exp(-abs({0}))"
_SIGMOID = f"(({{0}} < 0 ? {_DECAY} : 1) / (1 + {_DECAY}))"
_SOFTPLUS = f"(({{0}} < 0 ? 0 : {{0}}) + log1p({_DECAY}))"


def _sigmoid(xp, x):
    """``1 / (1 + exp(-x))``."""
    decay = xp.exp(-xp.abs(x))
    return xp.where(x < 0, decay, 1) / (1 + decay)


def _softplus(xp, x):
    """``log(1 + exp(x))``."""
    return xp.where(x < 0, 0, x) + xp.log1p(xp.exp(-xp.abs(x)))


def _silu_gradient(g, out, x):
    """The product rule on x times the sigmoid."""
    s = sigmoid(x)
    return (g * s * (1.0 + x * (1.0 - s)),)


def _mish_gradient(g, out, x):
    """The product rule on x times the tanh."""
    t = tanh(softplus(x))
    return (g * (t + x * (1.0 - t * t) * sigmoid(x)),)


sigmoid = op("sigmoid", forward=_sigmoid, spec=same_float, code=_SIGMOID, onnx="Sigmoid",
             grad=lambda g, out, x: (g * out * (1.0 - out),), samples=normal((5, 3)))
log_sigmoid = op("log_sigmoid", spec=same_float, code=f"({{0}} < 0 ? {{0}} : 0) - log1p({_DECAY})",
                 forward=lambda xp, x: xp.where(x < 0, x, 0) - xp.log1p(xp.exp(-xp.abs(x))),
                 onnx=lambda emit, x: emit("Neg", emit("Softplus", emit("Neg", x))),
                 grad=lambda g, out, x: (g * sigmoid(-x),), samples=normal((5, 3)))
softplus = op("softplus", forward=_softplus, spec=same_float, code=_SOFTPLUS, onnx="Softplus",
              grad=lambda g, out, x: (g * sigmoid(x),), samples=normal((5, 3)))
silu = op("silu", forward=lambda xp, x: x * _sigmoid(xp, x), spec=same_float,
          onnx=lambda emit, x: emit("Mul", x, emit("Sigmoid", x)),
          code=f"{{0}} * {_SIGMOID}", grad=_silu_gradient, samples=normal((5, 3)))
# Misra, "Mish: a self regularized non-monotonic activation function", 2020.
mish = op("mish", forward=lambda xp, x: x * xp.tanh(_softplus(xp, x)), spec=same_float,
          onnx=lambda emit, x: emit("Mul", x, emit("Tanh", emit("Softplus", x))),
          code=f"{{0}} * tanh({_SOFTPLUS})", grad=_mish_gradient, samples=normal((5, 3)))
# Howard et al., "Searching for MobileNetV3", 2019: x * hard_sigmoid(x).
hard_silu = op("hard_silu", spec=same_float, onnx="HardSwish",
               code="{0} < -3 ? 0 : {0} > 3 ? {0} : {0} * ({0} / 6 + 0.5)",
               forward=lambda xp, x: xp.where(x < -3, 0, x * xp.clip(x / 6 + 0.5, 0, 1)),
               grad=lambda g, out, x: (where(less_equal(x, -3.0), 0.0, where(
                   less_equal(x, 3.0), g * (x / 3.0 + 0.5), g)),),
               samples=lambda rng: [([rng.normal(0.0, 3.0, (5, 3))], {})])
# Barron, "Squareplus", 2021: (x + sqrt(x^2 + b)) / 2; left of 0 as b / 2 / (sqrt(x^2 + b) - x),
# where the sum would cancel.
squareplus = op(
    "squareplus", spec=_settings(above=0.0, fix='for b=0 use "relu"'),
    code="{0} < 0 ? 0.5 * {b} / (sqrt({0} * {0} + {b}) + abs({0}))"
         " : 0.5 * (sqrt({0} * {0} + {b}) + abs({0}))",
    forward=lambda xp, x, *, b=4: _squareplus(xp, x, b),
    grad=lambda g, out, x, *, b: (g * out / sqrt(x * x + float(b)),),
    samples=cases(normal((5, 3)), normal((4,), b=0.5)))


def _squareplus(xp, x, b):
    """Both forms share ``sqrt(x^2 + b) + abs(x)``."""
    double = xp.sqrt(x * x + b) + xp.abs(x)
    return xp.where(x < 0, 0.5 * b / double, 0.5 * double)


sparse_plus = op("sparse_plus", spec=same_float,
                 code="{0} < -1 ? 0 : {0} < 1 ? 0.25 * ({0} + 1) * ({0} + 1) : {0}",
                 forward=lambda xp, x: xp.where(
                     x < 1, 0.25 * xp.square(xp.clip(x, -1, 1) + 1), x),
                 grad=lambda g, out, x: (g * sparse_sigmoid(x),), samples=normal((5, 3)))

# ---- exponential linear units ------------------------------------------------------------------

_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al., 2017, equation 14


def _elu(xp, x, alpha, width=1.0):
    """``alpha * expm1(x / width)`` left of 0, without overflow right of it."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.where(x > 0, 0, x) / width))


# Clevert, Unterthiner and Hochreiter, "Exponential linear units", 2016.
elu = op("elu", spec=_settings(), code="{0} > 0 ? {0} : {alpha} * expm1({0})", onnx="Elu",
         forward=lambda xp, x, *, alpha=1.0: _elu(xp, x, alpha),
         grad=lambda g, out, x, *, alpha: (where(greater(x, 0.0), g, g * (out + float(alpha))),),
         samples=cases(normal((5, 3)), normal((4,), alpha=0.3)))
# Klambauer et al., "Self-normalizing neural networks", 2017.
selu = op("selu", spec=same_float, onnx="Selu",
          code=f"{{0}} > 0 ? {_SCALE} * {{0}} : {_SCALE * _ALPHA} * expm1({{0}})",
          forward=lambda xp, x: _SCALE * _elu(xp, x, _ALPHA),
          grad=lambda g, out, x: (where(greater(x, 0.0), g * _SCALE,
                                        g * (out + _SCALE * _ALPHA)),),
          samples=normal((5, 3)))
# Barron, "Continuously differentiable exponential linear units", 2017.
celu = op("celu", spec=_settings(above=0.0), onnx="Celu",
          code="{0} > 0 ? {0} : {alpha} * expm1({0} / {alpha})",
          forward=lambda xp, x, *, alpha=1.0: _elu(xp, x, alpha, alpha),
          grad=lambda g, out, x, *, alpha: (where(greater(x, 0.0), g,
                                                  g * (out / float(alpha) + 1.0)),),
          samples=cases(normal((5, 3)), normal((4,), alpha=0.3)))

# ---- gelu and quotients ------------------------------------------------------------------------
# Hendrycks and Gimpel, "Gaussian error linear units", 2016: x times the normal distribution
# function, or its approximation by tanh.

_C, _D = root(2 / pi), 0.044715


def _gelu(xp, x, *, approximate=False):
    """By tanh or by the error function."""
    if approximate:
        return 0.5 * x * (1 + xp.tanh(_C * (x + _D * x * x * x)))
    return 0.5 * x * (1 + xp.erf(x * root(0.5)).astype(x.dtype, copy=False))


def _gelu_gradient(g, out, x, *, approximate):
    """The product rule on x times the distribution function."""
    if approximate:
        t = tanh(_C * (x + _D * x * x * x))
        return (g * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (_C + 3.0 * _C * _D * x * x)),)
    return (g * (0.5 * (1.0 + erf(x * root(0.5))) + x * exp(-0.5 * x * x) / root(2 * pi)),)


def _gelu_spec(x: Spec, *, approximate) -> Spec:
    """One floating-point input and a flag."""
    if not isinstance(approximate, bool):
        raise ParameterError(f"approximate must be True or False, not {approximate!r}")
    return same_float(x)


gelu = op("gelu", forward=_gelu, grad=_gelu_gradient, spec=_gelu_spec,
          code=f"{{approximate}} ? 0.5 * {{0}} * (1 + tanh({_C} * ({{0}} + {_D} * {{0}} * {{0}} * "
               f"{{0}}))) : 0.5 * {{0}} * (1 + erf({{0}} * {root(0.5)}))",
          samples=cases(normal((5, 3)), normal((5, 3), approximate=True)))
softsign = op("softsign", forward=lambda xp, x: x / (1 + xp.abs(x)), spec=same_float,
              code="{0} / (1 + abs({0}))", onnx="Softsign",
              grad=lambda g, out, x: (g / square(1.0 + abs_(x)),), samples=normal((5, 3)))
tanh_shrink = op("tanh_shrink", forward=lambda xp, x: x - xp.tanh(x), spec=same_float,
                 code="{0} - tanh({0})", grad=lambda g, out, x: (g * square(tanh(x)),),
                 samples=normal((5, 3)))

# ---- along an axis -----------------------------------------------------------------------------

def _glu(xp, x, *, axis=-1):
    """Values times gates."""
    values, gates = xp.split(x, 2, axis=axis)
    return values * _sigmoid(xp, gates)


def _glu_spec(x: Spec, *, axis) -> Spec:
    """Half the axis."""
    floating(x)
    axis = one_axis(axis, len(x.shape))
    if x.shape[axis] % 2:
        raise ShapeError(f"axis {axis} has length {x.shape[axis]}, which has no half",
                         fix="give the layer before it an even number of outputs")
    return x.like(*(n // 2 if i == axis else n for i, n in enumerate(x.shape)))


def _glu_gradient(g, out, x, *, axis):
    """The product rule on values times gates, both parts side by side."""
    values, gates = OPS["split"](x, sections=2, axis=axis)
    s = sigmoid(gates)
    return (OPS["concatenate"](g * s, g * values * s * (1.0 - s), axis=axis),)


# Dauphin et al., "Language modeling with gated convolutional networks", 2017: the first half of
# the axis times the sigmoid of the second.
def _emit_glu(emit, x, *, axis):
    """Values times the sigmoid of gates."""
    values, gates = emit("Split", x, outputs=2, axis=axis)
    return emit("Mul", values, emit("Sigmoid", gates))


glu = op("glu", forward=_glu, spec=_glu_spec, grad=_glu_gradient, onnx=_emit_glu,
         samples=cases(normal((5, 4)), normal((2, 4, 3), axis=1), normal((0, 2))))


def _sparsemax(xp, x, *, axis=-1):
    """The row minus a threshold, cut at 0; the threshold makes the row sum to one."""
    if x.size == 0:
        return x
    z = xp.moveaxis(x - xp.max(x, axis=axis, keepdims=True), axis, -1)
    descending = xp.flip(xp.sort(z, axis=-1), -1)
    ranks = xp.arange(1, z.shape[-1] + 1, dtype=x.dtype)
    totals = xp.cumsum(descending, axis=-1) - 1
    support = xp.sum(descending * ranks > totals, axis=-1, keepdims=True)
    support = xp.maximum(support, 1)  # rows with a NaN, which stays
    level = xp.take_along_axis(totals, support - 1, axis=-1) / support.astype(x.dtype)
    return xp.moveaxis(xp.maximum(z - level, 0), -1, axis)


def _sparsemax_spec(x: Spec, *, axis) -> Spec:
    """The same spec; the axis must exist."""
    floating(x)
    one_axis(axis, len(x.shape))
    return x


def _sparsemax_gradient(g, out, x, *, axis):
    """On the support, the gradient minus its mean there."""
    support = where(greater(out, 0.0), sign(out), 0.0)
    mean = sum_(g * support, axis=axis, keepdims=True) / sum_(support, axis=axis, keepdims=True)
    return (where(greater(out, 0.0), g - mean, 0.0),)


# Martins and Astudillo, "From softmax to sparsemax", 2016, algorithm 1: the nearest point of the
# probability simplex.
sparsemax = op("sparsemax", forward=_sparsemax, spec=_sparsemax_spec, grad=_sparsemax_gradient,
               flops=lambda x, *, axis: 5 * x.size,
               samples=cases(normal((5, 4)), normal((2, 4, 3), axis=1), normal((0, 2)),
                             normal((3, 1))))


# ---- by name -----------------------------------------------------------------------------------

def linear(x):
    """The identity: what a layer without an activation applies."""
    return x


ACTIVATIONS: dict[str, Op | Callable] = {
    "linear": linear, "exponential": exp, "swish": silu, "hard_swish": hard_silu,
    **{f.name: f for f in (
        celu, elu, gelu, glu, hard_shrink, hard_sigmoid, hard_silu, hard_tanh, leaky_relu,
        log_sigmoid, log_softmax, mish, relu, relu6, selu, sigmoid, silu, soft_shrink, softmax,
        softplus, softsign, sparse_plus, sparse_sigmoid, sparsemax, squareplus, tanh, tanh_shrink,
        threshold)}}


def activation(name_or_callable) -> Callable:
    """The activation of that name.

    Parameters
    ----------
    name_or_callable : str, callable or None
        A name of `ACTIVATIONS`; any function from tensor to tensor, which is returned as it is;
        None stands for the identity.

    Returns
    -------
    callable
        From tensor to tensor.

    Raises
    ------
    UnknownNameError
        If there is no activation of that name.
    ParameterError
        If it is neither a name nor a function.

    Examples
    --------
    >>> from gradatim.backend.ops.activations import activation
    >>> activation("relu")
    op("relu")
    """
    if name_or_callable is None:
        return linear
    if callable(name_or_callable):
        return name_or_callable
    if not isinstance(name_or_callable, str):
        raise ParameterError("an activation is a name or a function",
                             got=repr(name_or_callable)[:60], fix='pass for example "relu"')
    return entry("activation", name_or_callable, ACTIVATIONS)
