"""Elementwise ops: arithmetic, comparison, logic, rounding, powers and transcendental functions."""
from __future__ import annotations

from math import pi, sqrt as root

import numpy as np

from ..errors import DTypeError, ParameterError
from ..op import cases, inside, normal, op, positive, ufunc
from ..spec import Spec, broadcast, one_dtype, same, same_float, truth
from .emission import as_type, identity


def numbers(*specs: Spec, **_) -> Spec:
    """Elementwise on numbers; truth values have logic instead of arithmetic."""
    if any(s.dtype == bool for s in specs) and one_dtype(*specs) == bool:
        raise DTypeError("needs numbers, not bool", fix='convert with gt.cast(x, dtype="float32")')
    return same(*specs)


def truths(*specs: Spec, **_) -> Spec:
    """Elementwise on truth values."""
    for s in specs:
        if s.dtype != bool:
            raise DTypeError(f"needs truth values, not {s.dtype}", fix="compare first, as x > 0")
    return same(*specs)


def whole(*shapes, least=1):
    """Samples: one case of integer arrays, of either sign when ``least`` is negative."""
    return lambda rng: [([rng.integers(least, 9, s) for s in shapes], {})]


def flags(*shapes):
    """Samples: one case of boolean arrays."""
    return lambda rng: [([rng.random(s) < 0.5 for s in shapes], {})]


# ---- arithmetic --------------------------------------------------------------------------------

add = op("add", forward=ufunc("add", 2), spec=numbers, code="{0} + {1}", onnx="Add",
         grad=lambda g, out, x, y: (g, g),
         samples=cases(normal((3, 4), (4,)), normal((2, 1), ()), whole((2, 3), (3,))))
subtract = op("subtract", forward=ufunc("subtract", 2), spec=numbers, code="{0} - {1}", onnx="Sub",
              grad=lambda g, out, x, y: (g, -g),
              samples=cases(normal((3, 4), (3, 1)), whole((2, 0), (1,))))
multiply = op("multiply", forward=ufunc("multiply", 2), spec=numbers, code="{0} * {1}", onnx="Mul",
              grad=lambda g, out, x, y: (g * y, g * x),
              samples=cases(normal((2, 3, 4), (3, 1)), whole((2, 3), (3,))))
divide = op("divide", forward=ufunc("divide", 2), spec=same_float, code="{0} / {1}", onnx="Div",
            grad=lambda g, out, x, y: (g / y, -g * out / y),
            samples=positive((3, 4), (3, 1)))
negative = op("negative", forward=ufunc("negative", 1), spec=numbers, code="-{0}", onnx="Neg",
              grad=lambda g, out, x: (-g,), samples=cases(normal((5, 3)), whole((3,))))
abs_ = op("abs", forward=ufunc("abs", 1), spec=numbers, code="abs({0})", onnx="Abs",
          grad=lambda g, out, x: (g * sign(x),),
          samples=cases(normal((5, 3)), whole((4,), least=-9)))
sign = op("sign", forward=ufunc("sign", 1), spec=numbers, onnx="Sign",
          code="{0} > 0 ? 1 : {0} < 0 ? -1 : {0} == 0 ? 0 : {0}",
          grad=lambda g, out, x: (None,), samples=cases(normal((5, 3)), whole((4,), least=-9)))
square = op("square", forward=ufunc("square", 1), spec=numbers, code="{0} * {0}",
            onnx=lambda emit, x: emit("Mul", x, x),
            grad=lambda g, out, x: (g * 2.0 * x,), samples=cases(normal((5, 3)), whole((3,))))

# Remainder and quotient round towards minus infinity, as Python's % and // do.
mod = op("mod", forward=ufunc("mod", 2), spec=numbers,
         code="fmod({0}, {1}) == 0 ? ({1} < 0 ? -0.0 : 0.0) : "
              "(fmod({0}, {1}) < 0) != ({1} < 0) ? fmod({0}, {1}) + {1} : fmod({0}, {1})",
         grad=lambda g, out, x, y: (g, -g * floor_divide(x, y)),
         onnx=lambda emit, x, y: emit("Mod", x, y) if x.dtype.kind in "iu" else None,
         samples=cases(normal((3, 4), (4,)), whole((3, 4), (4,))))
floor_divide = op("floor_divide", forward=ufunc("floor_divide", 2), spec=numbers,
                  code="{1} == 0 ? {0} / {1} : rint(({0} - fmod({0}, {1})) / {1})"
                       " - (fmod({0}, {1}) != 0 && (fmod({0}, {1}) < 0) != ({1} < 0) ? 1 : 0)",
                  grad=lambda g, out, x, y: (None, None),
                  samples=cases(normal((3, 4), (4,)), whole((3, 4), (4,))))


def _power_gradient(g, out, x, y):
    """By the exponent it is 0 where x <= 0: there the power is a function of whole y only."""
    by_base = g * y * power(x, where(equal(y, 0.0), 1.0, y - 1.0))  # at y = 0 no 0 * infinity
    return by_base, g * out * log(where(greater(x, 0.0), x, ones_like(x)))


power = op("power", forward=ufunc("power", 2), spec=numbers, code="pow({0}, {1})", onnx="Pow",
           grad=_power_gradient, samples=cases(positive((3, 4), (4,)), whole((2, 3), (3,))))

# Where both are equal, each gets half of the gradient; NaN wins over every number.
maximum = op("maximum", forward=ufunc("maximum", 2), spec=same, onnx="Max",
             code="{0} != {0} || {0} > {1} ? {0} : {1}",
             grad=lambda g, out, x, y: _shared(g, greater(x, y), equal(x, y)),
             samples=cases(normal((3, 4), (4,)), whole((3, 4), (4,))))
minimum = op("minimum", forward=ufunc("minimum", 2), spec=same, onnx="Min",
             code="{0} != {0} || {0} < {1} ? {0} : {1}",
             grad=lambda g, out, x, y: _shared(g, less(x, y), equal(x, y)),
             samples=cases(normal((3, 4), (4,)), whole((3, 4), (4,))))


def _shared(g, first, tie):
    """The gradient for the first input where it won, for the second where it did not."""
    part = where(tie, 0.5 * g, where(first, g, 0.0))
    return part, g - part


# ---- powers, exponentials and logarithms -------------------------------------------------------

def _function(name, function, grad, samples, onnx=None, code=None):
    """A function of one floating-point number."""
    return op(name, forward=ufunc(function, 1), spec=same_float, code=code or name + "({0})",
              grad=grad, samples=samples, onnx=onnx)


exp = _function("exp", "exp", lambda g, out, x: (g * out,), normal((5, 3)), "Exp")
expm1 = _function("expm1", "expm1", lambda g, out, x: (g * (out + 1.0),), normal((5, 3)))
log = _function("log", "log", lambda g, out, x: (g / x,), positive((5, 3)), "Log")
log1p = _function("log1p", "log1p", lambda g, out, x: (g / (1.0 + x),), inside((5, 3)))
sqrt = _function("sqrt", "sqrt", lambda g, out, x: (0.5 * g / out,), positive((5, 3)), "Sqrt")
rsqrt = op("rsqrt", forward=lambda xp, x: 1.0 / xp.sqrt(x), spec=same_float, code="1 / sqrt({0})",
           onnx=lambda emit, x: emit("Reciprocal", emit("Sqrt", x)),
           grad=lambda g, out, x: (-0.5 * g * out * out * out,), samples=positive((5, 3)))
reciprocal = _function("reciprocal", "reciprocal", lambda g, out, x: (-g * out * out,),
                       positive((5, 3)), "Reciprocal", code="1 / {0}")

# ---- trigonometric and hyperbolic functions ----------------------------------------------------

sin = _function("sin", "sin", lambda g, out, x: (g * cos(x),), normal((5, 3)), "Sin")
cos = _function("cos", "cos", lambda g, out, x: (-g * sin(x),), normal((5, 3)), "Cos")
tan = _function("tan", "tan", lambda g, out, x: (g * (1.0 + out * out),), inside((5, 3)), "Tan")
asin = _function("asin", "arcsin", lambda g, out, x: (g * rsqrt((1.0 - x) * (1.0 + x)),),
                 inside((5, 3)), "Asin")
acos = _function("acos", "arccos", lambda g, out, x: (-g * rsqrt((1.0 - x) * (1.0 + x)),),
                 inside((5, 3)), "Acos")
atan = _function("atan", "arctan", lambda g, out, x: (g / (1.0 + x * x),), normal((5, 3)), "Atan")
sinh = _function("sinh", "sinh", lambda g, out, x: (g * cosh(x),), normal((5, 3)), "Sinh")
cosh = _function("cosh", "cosh", lambda g, out, x: (g * sinh(x),), normal((5, 3)), "Cosh")
tanh = _function("tanh", "tanh", lambda g, out, x: (g * (1.0 - out * out),), normal((5, 3)), "Tanh")
asinh = _function("asinh", "arcsinh", lambda g, out, x: (g * rsqrt(1.0 + x * x),), normal((5, 3)),
                  "Asinh")
acosh = _function("acosh", "arccosh", lambda g, out, x: (g * rsqrt((x - 1.0) * (x + 1.0)),),
                  lambda rng: [([rng.uniform(1.5, 3.0, (5, 3))], {})], "Acosh")
atanh = _function("atanh", "arctanh", lambda g, out, x: (g / ((1.0 - x) * (1.0 + x)),),
                  inside((5, 3)), "Atanh")

# The error function and its inverse; SciPy has them in single and double precision only.
erf = op("erf", forward=lambda xp, x: xp.erf(x).astype(x.dtype, copy=False), spec=same_float,
         code="erf({0})", onnx="Erf", samples=normal((5, 3)),
         grad=lambda g, out, x: (g * (2.0 / root(pi)) * exp(-x * x),))
erfinv = op("erfinv", forward=lambda xp, x: xp.erfinv(x).astype(x.dtype, copy=False),
            spec=same_float, samples=inside((5, 3)),
            grad=lambda g, out, x: (g * (root(pi) / 2.0) * exp(out * out),))

# ---- rounding and clipping ---------------------------------------------------------------------

floor = _function("floor", "floor", lambda g, out, x: (None,), normal((5, 3)), "Floor")
ceil = _function("ceil", "ceil", lambda g, out, x: (None,), normal((5, 3)), "Ceil")
# Halves go to the even neighbour.
round_ = _function("round", "rint", lambda g, out, x: (None,), normal((5, 3)), "Round",
                   code="rint({0})")


def _clip_spec(x: Spec, *, low, high) -> Spec:
    """Bounds are numbers in order, whole and in range for whole numbers; one may be None."""
    bounds = [b for b in (low, high) if b is not None]
    if not bounds:
        raise ParameterError("low and high are both missing", fix="pass low=, high= or both")
    for b in bounds:
        if isinstance(b, bool) or not isinstance(b, (int, float)) or b != b:
            raise ParameterError(f"a bound must be a number, not {b!r}")
        if not x.is_float and x.dtype != bool and not (
                isinstance(b, int) and np.iinfo(x.dtype).min <= b <= np.iinfo(x.dtype).max):
            raise ParameterError(f"the bound {b!r} is not a number of the type {x.dtype}")
    if len(bounds) == 2 and low > high:
        raise ParameterError(f"low is above high, {low} and {high}")
    return numbers(x)


# Within [low, high]; NaN stays. In ``code`` a bound of None is written as NaN, which no number is
# below or above. At a bound the gradient passes.
clip = op("clip", forward=lambda xp, x, *, low=None, high=None: xp.clip(x, low, high),
          spec=_clip_spec, code="{0} <= {low} ? {low} : {0} >= {high} ? {high} : {0}",
          grad=lambda g, out, x, *, low, high: (where(equal(x, out), g, 0.0),),
          onnx=lambda emit, x, *, low, high: emit("Clip", x, *(
              None if bound is None else emit.constant(bound, x.dtype) for bound in (low, high))),
          samples=cases(normal((5, 3), low=-0.5, high=0.8), normal((4,), low=0.0),
                        normal((2, 3), high=0.25),
                        lambda rng: [([rng.integers(-9, 9, (3, 4))], {"low": -3, "high": 4})]))

# ---- comparison and logic ----------------------------------------------------------------------

def _comparison(name, sign_, onnx=None):
    """A comparison of two numbers of one type."""
    return op(name, forward=ufunc(name, 2), spec=truth, code=f"{{0}} {sign_} {{1}}", onnx=onnx,
              samples=cases(normal((3, 4), (4,)), whole((3, 4), (3, 1))))


equal = _comparison("equal", "==", "Equal")
not_equal = _comparison("not_equal", "!=",
                        lambda emit, x, y: emit("Not", emit("Equal", x, y)))
less = _comparison("less", "<", "Less")
less_equal = _comparison("less_equal", "<=", "LessOrEqual")
greater = _comparison("greater", ">", "Greater")
greater_equal = _comparison("greater_equal", ">=", "GreaterOrEqual")

logical_and = op("logical_and", forward=ufunc("logical_and", 2), spec=truths, code="{0} && {1}",
                 onnx="And", samples=flags((3, 4), (4,)))
logical_or = op("logical_or", forward=ufunc("logical_or", 2), spec=truths, code="{0} || {1}",
                onnx="Or", samples=flags((3, 4), (4,)))
logical_not = op("logical_not", forward=ufunc("logical_not", 1), spec=truths, code="!{0}",
                 onnx="Not", samples=flags((3, 4)))
isfinite = op("isfinite", forward=ufunc("isfinite", 1), spec=truth, code="{0} - {0} == 0",
              samples=normal((5, 3)))
isnan = op("isnan", forward=ufunc("isnan", 1), spec=truth, code="{0} != {0}", onnx="IsNaN",
           samples=normal((5, 3)))


def _where_spec(condition: Spec, x: Spec, y: Spec) -> Spec:
    """A boolean condition and two inputs of one dtype."""
    if condition.dtype != bool:
        raise DTypeError(f"the condition must be bool, not {condition.dtype}",
                         fix="compare first, as gt.where(x > 0, x, y)")
    return Spec(broadcast(condition.shape, x.shape, y.shape), one_dtype(x, y))


where = op("where", forward=lambda xp, condition, x, y: xp.where(condition, x, y),
           spec=_where_spec, code="{0} ? {1} : {2}", onnx="Where",
           grad=lambda g, out, condition, x, y: (None, where(condition, g, 0.0),
                                                 where(condition, 0.0, g)),
           samples=lambda rng: [([rng.random((3, 4)) < 0.5, rng.standard_normal((3, 1)),
                                  rng.standard_normal(4)], {})])

# ---- types and constants -----------------------------------------------------------------------

# Floats become whole numbers by truncation; true is 1, and what is not 0 is true. The value of
# ``code`` takes the type of the output it is assigned to.
cast = op("cast", forward=lambda xp, x, *, dtype: x.astype(dtype), code="{0}",
          spec=lambda x, *, dtype: Spec.of(x.shape, dtype),
          grad=lambda g, out, x, *, dtype: (cast(g, dtype=x.dtype.name),),
          onnx=lambda emit, x, *, dtype: as_type(emit, x, dtype),
          samples=cases(normal((3, 4), dtype="float64"), normal((3, 4), dtype="int32"),
                        normal((3, 4), dtype="bool"),
                        lambda rng: [([rng.integers(-9, 9, (3, 4))], {"dtype": "float64"}),
                                     ([rng.random((3, 4)) < 0.5], {"dtype": "float64"})]))

def _filled(emit, x, value):
    """One number in the shape of x, whatever it is when the model runs."""
    return emit("ConstantOfShape", emit("Shape", x), value=np.full(1, value, x.dtype))


# The samples are not floats, because a difference quotient would see the slope this op hides.
stop_gradient = op("stop_gradient", forward=lambda xp, x: x, spec=same, code="{0}", onnx=identity,
                   grad=lambda g, out, x: (None,), samples=cases(flags((3, 4)), whole((2, 3))))
zeros_like = op("zeros_like", forward=lambda xp, x: xp.zeros_like(x), spec=same, code="0",
                onnx=lambda emit, x: _filled(emit, x, 0),
                grad=lambda g, out, x: (None,), samples=cases(normal((3, 4)), whole((2, 3))))
ones_like = op("ones_like", forward=lambda xp, x: xp.ones_like(x), spec=same, code="1",
               onnx=lambda emit, x: _filled(emit, x, 1),
               grad=lambda g, out, x: (None,), samples=cases(normal((3, 4)), whole((2, 3))))
