"""Elementwise ops and activations: independent formulas, kinks, tails, fused code, error texts."""
import ctypes
import math
import re
import shutil
import subprocess
import warnings
from decimal import Decimal

import numpy as np
import pytest
from scipy import special

import gradatim as gt
from gradatim.backend import errors
from gradatim.backend.array_module import numpy_module
from gradatim.backend.op import CODE_FUNCTIONS, Op
from gradatim.backend.ops import activations, elementwise
from gradatim.backend.ops.activations import ACTIVATIONS, activation


def compute(op, *arrays, **settings):
    """The op's value."""
    inputs = [gt.placeholder(a.shape, a.dtype) for a in map(np.asarray, arrays)]
    return gt.run(op(*inputs, **settings), dict(zip(inputs, map(np.asarray, arrays))))


def slopes(op, *arrays, **settings):
    """Gradients of the sum of the op by its inputs."""
    arrays = [np.asarray(a, np.float64) for a in arrays]
    inputs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
    return gt.run(gt.gradients(op(*inputs, **settings).sum(), inputs), dict(zip(inputs, arrays)))


GRID = np.concatenate([np.linspace(-8, 8, 161), [-700.0, -40.0, -1e-9, 1e-9, 40.0, 700.0]])
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def scalar(f):
    """A formula for one number, on arrays."""
    return lambda x, **settings: np.array([f(float(v), **settings) for v in x])


def squareplus(x, b):
    """In decimal, because the sum cancels left of 0."""
    return float((Decimal(x) + (Decimal(x) ** 2 + Decimal(b)).sqrt()) / 2)


# name, settings, formula. Formulas use other functions than the ops do, as far as there are any.
FORMULAS = [
    ("relu", {}, scalar(lambda x: max(x, 0.0))),
    ("relu6", {}, scalar(lambda x: min(max(x, 0.0), 6.0))),
    ("leaky_relu", {}, scalar(lambda x: max(x, 0.2 * x))),
    ("leaky_relu", {"negative_slope": 0.01}, scalar(lambda x, negative_slope: max(x, 0.01 * x))),
    ("elu", {}, lambda x: np.where(x > 0, x, special.expm1(np.minimum(x, 0)))),
    ("elu", {"alpha": 2.5}, lambda x, alpha: special.boxcox(
        np.exp(np.minimum(x, 0)), 1) * 2.5 + np.maximum(x, 0)),
    ("selu", {}, lambda x: SELU_SCALE * (
        np.maximum(x, 0) + SELU_ALPHA * special.expm1(np.minimum(x, 0)))),
    ("celu", {"alpha": 2.0}, lambda x, alpha: np.maximum(x, 0) + np.minimum(
        0, 2.0 * special.expm1(np.minimum(x, 0) / 2.0))),
    ("gelu", {}, lambda x: x * special.ndtr(x)),
    ("gelu", {"approximate": True}, lambda x, approximate: x * special.expit(
        2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    ("silu", {}, lambda x: x * special.expit(x)),
    ("sigmoid", {}, special.expit),
    ("log_sigmoid", {}, special.log_expit),
    ("softplus", {}, lambda x: np.logaddexp(0, x)),
    ("softsign", {}, scalar(lambda x: x / (1 + abs(x)))),
    ("tanh_shrink", {}, scalar(lambda x: x - math.tanh(x))),
    ("soft_shrink", {}, scalar(lambda x: math.copysign(max(abs(x) - 0.5, 0.0), x))),
    ("hard_shrink", {"threshold": 1.0}, scalar(lambda x, threshold: x if abs(x) > 1.0 else 0.0)),
    ("threshold", {"threshold": 0.3, "value": -2.0},
     scalar(lambda x, threshold, value: x if x > 0.3 else -2.0)),
    ("squareplus", {}, scalar(lambda x: squareplus(x, 4))),
    ("squareplus", {"b": 0.25}, scalar(squareplus)),
    ("mish", {}, lambda x: x * np.tanh(np.logaddexp(0, x))),
    ("hard_sigmoid", {}, scalar(lambda x: min(max(x / 6 + 0.5, 0.0), 1.0))),
    ("hard_silu", {}, scalar(lambda x: x * min(max(x + 3.0, 0.0), 6.0) / 6)),
    ("hard_tanh", {}, scalar(lambda x: sorted((-1.0, x, 1.0))[1])),
    ("sparse_plus", {}, scalar(lambda x: 0.0 if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4)),
    ("sparse_sigmoid", {}, scalar(lambda x: 0.0 if x <= -1 else 1.0 if x >= 1 else (x + 1) / 2)),
    ("erf", {}, scalar(math.erf)),
    ("rsqrt", {}, lambda x: np.power(x, -0.5)),
    ("round", {}, scalar(round)),
    ("cast", {"dtype": "int32"}, scalar(lambda x, dtype: math.trunc(x))),
    ("clip", {"low": -1.0}, scalar(lambda x, low: max(x, -1.0))),
    ("clip", {"low": -1.0, "high": 2.5}, scalar(lambda x, low, high: sorted((low, x, high))[1])),
]


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("name, settings, formula", FORMULAS,
                         ids=lambda p: "" if callable(p) else str(p))
def test_formula(name, settings, formula):
    x = np.abs(GRID) if name == "rsqrt" else GRID
    np.testing.assert_allclose(compute(getattr(gt, name), x, **settings), formula(x, **settings),
                               rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name, formula", [
    ("sigmoid", special.expit), ("softplus", lambda x: np.logaddexp(0, x)),
    ("log_sigmoid", special.log_expit), ("silu", lambda x: x * special.expit(x)),
    ("mish", lambda x: x * np.tanh(np.logaddexp(0, x)))])
def test_float32_keeps_its_relative_accuracy_in_both_tails(name, formula):
    x = np.linspace(-80, 80, 1601, dtype=np.float32)
    got = compute(getattr(gt, name), x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, formula(x.astype(np.float64)), rtol=5e-7)


@pytest.mark.parametrize("name", sorted({"linear", *ACTIVATIONS} - {"exponential", "threshold"}))
def test_activations_do_not_overflow(name):
    x = np.array([[-1e9, -90.0, 0.0, 90.0, 1e9, 1.0]], np.float32)
    f = ACTIVATIONS[name]
    if name == "linear":
        assert f(x) is x
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = f.forward(gt.get_backend("reference").xp, x, **f.settle({}))
    assert np.isfinite(y).all() and y.dtype == np.float32


def test_every_keras_activation_is_there():
    keras = ("celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish "
             "hard_tanh leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid "
             "silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax "
             "squareplus swish tanh tanh_shrink threshold")
    assert sorted(ACTIVATIONS) == keras.split()


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "hard_tanh", "soft_shrink",
                                  "hard_shrink", "hard_silu", "sparse_plus", "softplus", "sigmoid"])
def test_activations_keep_nan(name):
    assert np.isnan(compute(getattr(gt, name), np.float32([np.nan]))).all()


# ---- fused code --------------------------------------------------------------------------------

CODED = {f.name: f for module in (elementwise, activations) for f in vars(module).values()
         if isinstance(f, Op) and f.code}
UNCODED = {"erfinv", "glu", "sparsemax", "softmax", "log_softmax", "sum"}  # no short expression


def literal(value) -> str:
    """A setting as a C++ number; a missing bound is NaN."""
    return "NAN" if value is None else f"({float(value)!r})"


def code_cases():
    """Each op that has code with the settings of each sample of floats and truth values."""
    for f in CODED.values():
        for arrays, settings in f.samples(np.random.default_rng(0)):
            kinds = [a.dtype.kind for a in map(np.asarray, arrays)]
            if not set(kinds) & set("iu"):
                yield f, f.settle(settings), kinds


def test_code_uses_only_the_functions_there_are():
    for f in CODED.values():
        assert set(re.findall(r"([a-z]\w*)\(", f.code)) <= CODE_FUNCTIONS, f.name
    everything = {f.name for m in (elementwise, activations) for f in vars(m).values()
                  if isinstance(f, Op)}
    assert everything - set(CODED) == UNCODED


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_code_compiled_as_cplusplus_equals_forward(tmp_path):
    """On NaN, infinities, both zeros, denormals, kinks and ordinary numbers, in float64."""
    rows = list(code_cases())
    source = ["#include <cmath>", "using namespace std;", 'extern "C" {']
    for number, (f, settings, kinds) in enumerate(rows):
        inputs = [f"(v[{i}] != 0)" if kind == "b" else f"v[{i}]" for i, kind in enumerate(kinds)]
        code = f.code.format(*inputs, **{k: literal(v) for k, v in settings.items()
                                         if not isinstance(v, str)})
        source.append(f"double f{number}(const double* v) {{ return {code}; }}")
    (tmp_path / "code.cpp").write_text("\n".join([*source, "}"]))
    subprocess.run(["c++", "-O1", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", "code.cpp",
                    "-o", "code.so"], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "code.so"))
    special_values = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, -1e-310, 0.5, -0.5, 1.0, -1.0,
                      2.5, 3.0, -3.0, 6.0, -7.0, 40.0, -40.0]
    for number, (f, settings, kinds) in enumerate(rows):
        values = special_values[:9 if len(kinds) > 2 else None]
        grid = np.stack([g.ravel() for g in np.meshgrid(*[values] * len(kinds))], 1)
        function = getattr(library, f"f{number}")
        function.restype = ctypes.c_double
        got = np.array([function(row.ctypes.data_as(ctypes.c_void_p)) for row in grid])
        with np.errstate(all="ignore"):
            want = np.asarray(f.forward(numpy_module, *(
                column.astype(bool) if kind == "b" else column
                for column, kind in zip(grid.T, kinds)), **settings))
            if want.dtype.kind == "i":  # what NaN and infinity become is nobody's promise
                keep = np.isfinite(grid).all(1)
                got, want = np.trunc(got[keep]), want[keep]
            if want.dtype == bool:
                got = got != 0
        np.testing.assert_allclose(got, want, rtol=1e-13, err_msg=f"{f.name} {settings}")


# ---- arithmetic --------------------------------------------------------------------------------

def test_mod_and_floor_divide_round_down_as_python_does():
    x, y = np.array([7, -7, 7, -7]), np.array([3, 3, -3, -3])
    for dtype in ("int32", "int64", "float32"):
        a, b = x.astype(dtype), y.astype(dtype)
        np.testing.assert_array_equal(compute(gt.mod, a, b), [7 % 3, -7 % 3, 7 % -3, -7 % -3])
        np.testing.assert_array_equal(compute(gt.floor_divide, a, b),
                                      [7 // 3, -7 // 3, 7 // -3, -7 // -3])


@pytest.mark.parametrize("name, x, y, want", [
    ("maximum", [1.0, 2.0, 3.0], [1.0, 3.0, 2.0], ([0.5, 0.0, 1.0], [0.5, 1.0, 0.0])),
    ("minimum", [1.0, 2.0, 3.0], [1.0, 3.0, 2.0], ([0.5, 1.0, 0.0], [0.5, 0.0, 1.0])),
    ("power", [0.0, 0.0, -2.0, 2.0], [2.0, 0.0, 3.0, 3.0],
     ([0.0, 0.0, 12.0, 12.0], [0.0, 0.0, 0.0, 8 * math.log(2)]))])
def test_gradients_where_they_are_a_matter_of_convention(name, x, y, want):
    np.testing.assert_allclose(slopes(getattr(gt, name), x, y), want, rtol=1e-14)


def test_gradients_at_kinks():
    assert slopes(gt.abs, [-1.0, 0.0, 1.0])[0].tolist() == [-1, 0, 1]
    clipped = slopes(gt.clip, [-2.0, -1.0, 0.0, 1.0, 2.0], low=-1.0, high=1.0)[0]
    assert clipped.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("name, settings, kinks, want", [
    ("relu", {}, [0.0], [0.0]), ("relu6", {}, [0.0, 6.0], [0.0, 0.0]),
    ("leaky_relu", {}, [0.0], [0.2]), ("elu", {"alpha": 3.0}, [0.0], [3.0]),
    ("hard_tanh", {}, [-1.0, 1.0], [0.0, 0.0]), ("hard_sigmoid", {}, [-3.0, 3.0], [0.0, 0.0]),
    ("hard_silu", {}, [-3.0, 3.0], [0.0, 1.5]), ("soft_shrink", {}, [-0.5, 0.5], [0.0, 0.0]),
    ("hard_shrink", {}, [-0.5, 0.5], [0.0, 0.0]), ("sparse_sigmoid", {}, [-1.0, 1.0], [0.0, 0.0]),
    ("threshold", {"threshold": 1.0, "value": 0.0}, [1.0], [0.0])])
def test_gradients_of_activations_at_kinks(name, settings, kinks, want):
    """0 if one side is flat, else the slope from the left."""
    np.testing.assert_allclose(slopes(getattr(gt, name), kinks, **settings)[0], want, rtol=1e-12)


def test_nan_wins_in_maximum_and_minimum():
    x, y = np.float32([np.nan, 1, 2]), np.float32([1, np.nan, 3])
    np.testing.assert_array_equal(compute(gt.maximum, x, y), [np.nan, np.nan, 3])
    np.testing.assert_array_equal(compute(gt.minimum, x, y), [np.nan, np.nan, 2])


def test_stop_gradient_is_the_identity_with_no_gradient():
    x = np.array([1.5, -2.0])
    np.testing.assert_array_equal(compute(gt.stop_gradient, x), x)
    product = lambda t: t * gt.stop_gradient(t)
    np.testing.assert_array_equal(slopes(product, x)[0], x)
    np.testing.assert_array_equal(slopes(gt.stop_gradient, x)[0], [0, 0])


def test_the_side_where_does_not_take_has_no_gradient():
    got = slopes(lambda x: gt.where(gt.greater(x, 0.0), gt.log(gt.maximum(x, 1e-300)), x * 3.0),
                 [-1.0, 2.0])[0]
    np.testing.assert_allclose(got, [3.0, 0.5])


@pytest.mark.parametrize("source, target, values, want", [
    ("float32", "int64", [1.9, -1.9, 0.0], [1, -1, 0]), ("int64", "float32", [1, -2], [1, -2]),
    ("bool", "float64", [True, False], [1, 0]), ("float32", "bool", [0.0, 0.5], [False, True]),
    ("float64", "float32", [0.5, 0.25], [0.5, 0.25]), ("int64", "uint8", [1, 255], [1, 255])])
def test_cast(source, target, values, want):
    got = compute(gt.cast, np.array(values, source), dtype=target)
    assert got.dtype == target
    np.testing.assert_array_equal(got, want)


def test_the_gradient_of_a_cast_has_the_type_of_its_input():
    x = gt.placeholder((2,), "float64")
    (dx,) = gt.gradients((gt.cast(x, dtype="float32") * 3.0).sum(), [x])
    assert dx.dtype == np.float64
    np.testing.assert_array_equal(gt.run(dx, {x: np.ones(2)}), [3, 3])


def test_erfinv_is_the_inverse_of_erf():
    x = np.linspace(-0.99, 0.99, 41)
    np.testing.assert_allclose(compute(gt.erf, compute(gt.erfinv, x)), x, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["erf", "erfinv", "gelu", "sigmoid", "rsqrt", "clip"])
def test_half_precision_stays_half(name):
    settings = {"low": 0.1} if name == "clip" else {}
    assert compute(getattr(gt, name), np.float16([0.25, 0.5]), **settings).dtype == np.float16


# ---- along an axis -----------------------------------------------------------------------------

def test_glu_is_the_first_half_gated_by_the_second():
    x = np.random.default_rng(0).standard_normal((2, 6, 3))
    np.testing.assert_allclose(compute(gt.glu, x, axis=1),
                               x[:, :3] * special.expit(x[:, 3:]), rtol=1e-13)


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    x = np.random.default_rng(0).standard_normal((50, 5)) * 2
    got = compute(gt.sparsemax, x)
    for row, p in zip(x, got):
        low, high = row.min() - 1, row.max()     # bisection for the threshold with sum one
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if np.maximum(row - middle, 0).sum() > 1 else (low, middle)
        np.testing.assert_allclose(p, np.maximum(row - low, 0), atol=1e-12)
    np.testing.assert_array_equal(compute(gt.sparsemax, np.float32([[1000, 0], [3, 3]])),
                                  [[1, 0], [0.5, 0.5]])


# ---- errors ------------------------------------------------------------------------------------

F, I, B = (gt.placeholder((2, 3), d) for d in ("float32", "int64", "bool"))


@pytest.mark.parametrize("call, kind, what, fix", [
    (lambda: gt.add(B, B), errors.DTypeError, "add: needs numbers, not bool",
     'convert with gt.cast(x, dtype="float32")'),
    (lambda: gt.add(F, I), errors.DTypeError, "add: the element types differ, float32 and int64",
     "convert one with gt.cast"),
    (lambda: gt.add(F, gt.placeholder((4,))), errors.ShapeError,
     "add: the shapes do not broadcast: [2, 3] and [4]", None),
    (lambda: gt.sqrt(I), errors.DTypeError, "sqrt: needs floating-point numbers, not int64",
     'convert with gt.cast(x, dtype="float32")'),
    (lambda: gt.logical_and(F, B), errors.DTypeError,
     "logical_and: needs truth values, not float32", "compare first, as x > 0"),
    (lambda: gt.where(F, F, F), errors.DTypeError,
     "where: the condition must be bool, not float32", "compare first, as gt.where(x > 0, x, y)"),
    (lambda: gt.clip(F), errors.ParameterError, "clip: low and high are both missing",
     "pass low=, high= or both"),
    (lambda: gt.clip(F, low=1.0, high=0.0), errors.ParameterError,
     "clip: low is above high, 1.0 and 0.0", None),
    (lambda: gt.clip(F, low="0"), errors.ParameterError, "clip: a bound must be a number, not '0'",
     None),
    (lambda: gt.clip(I, low=0.5), errors.ParameterError,
     "clip: the bound 0.5 is not a number of the type int64", None),
    (lambda: gt.cast(F, dtype="complex64"), errors.DTypeError,
     "cast: complex64 is not an element type of tensors", "use one of bool, uint8, int32, uint32, "
     "int64, float16, float32, float64"),
    (lambda: gt.celu(F, alpha=0.0), errors.ParameterError, "celu: alpha must be above 0, not 0.0",
     None),
    (lambda: gt.soft_shrink(F, threshold=-1.0), errors.ParameterError,
     "soft_shrink: threshold must be 0 or more, not -1.0", None),
    (lambda: gt.squareplus(F, b=0), errors.ParameterError, "squareplus: b must be above 0, not 0",
     'for b=0 use "relu"'),
    (lambda: gt.elu(F, alpha="1"), errors.ParameterError, "elu: alpha must be a number, not '1'",
     None),
    (lambda: gt.gelu(F, approximate="tanh"), errors.ParameterError,
     "gelu: approximate must be True or False, not 'tanh'", None),
    (lambda: gt.threshold(F, threshold=1.0), errors.ParameterError,
     'threshold: the setting "value" is missing', "pass value=..."),
    (lambda: gt.glu(F), errors.ShapeError, "glu: axis 1 has length 3, which has no half",
     "give the layer before it an even number of outputs"),
    (lambda: activation("rellu"), errors.UnknownNameError, 'there is no activation "rellu"',
     'did you mean "relu"?'),
    (lambda: activation(3), errors.ParameterError, "an activation is a name or a function",
     'pass for example "relu"'),
])
def test_error_text(call, kind, what, fix):
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.what == what
    assert caught.value.facts.get("fix") == fix


def test_activation_lookup():
    assert activation("relu") is gt.relu and activation("exponential") is gt.exp
    assert activation(None) is activation("linear")
    assert activation(math.sin) is math.sin
