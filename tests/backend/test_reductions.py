"""Reductions against explicit loops and SciPy, at ties, zeros and infinities; error texts."""
import itertools
import math

import numpy as np
import pytest
from scipy import special

import gradatim as gt
from gradatim.backend import errors


def compute(op, x, **settings):
    """The op's value, or values."""
    x = np.asarray(x)
    t = gt.placeholder(x.shape, x.dtype)
    out = op(t, **settings)
    return gt.run(list(out) if isinstance(out, tuple) else out, {t: x})


def slope(op, x, weights=1.0, **settings):
    """The gradient of the weighted sum of the op."""
    x = np.asarray(x, np.float64)
    t = gt.placeholder(x.shape, x.dtype)
    out = op(t, **settings)
    out = out[0] if isinstance(out, tuple) else out
    return gt.run(gt.gradients((out * np.asarray(weights, np.float64)).sum(), [t]), {t: x})[0]


def looped(f, x, axis, keepdims):
    """``f`` of the list of entries of every reduced block, by explicit loops."""
    lost = set(range(x.ndim)) if axis is None else {
        a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))}
    blocks: dict = {}
    for index in itertools.product(*map(range, x.shape)):
        key = tuple(0 if i in lost else n for i, n in enumerate(index))
        blocks.setdefault(key, []).append(float(x[index]))
    result = np.zeros([1 if i in lost else n for i, n in enumerate(x.shape)])
    for key, values in blocks.items():
        result[key] = f(values)
    return result if keepdims else result.reshape(
        [n for i, n in enumerate(x.shape) if i not in lost])


def population_variance(values):
    mean = math.fsum(values) / len(values)
    return math.fsum((v - mean) ** 2 for v in values) / len(values)


LOOPS = {"sum": math.fsum, "mean": lambda v: math.fsum(v) / len(v), "var": population_variance,
         "max": max, "min": min, "prod": math.prod,
         "logsumexp": lambda v: math.log(math.fsum(map(math.exp, v)))}


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1, -1), (0, 1, 2)])
@pytest.mark.parametrize("name", LOOPS)
def test_against_loops(name, axis, keepdims):
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    got = compute(getattr(gt, name), x, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(got, looped(LOOPS[name], x, axis, keepdims), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "uint32", "int64"])
def test_sums_of_whole_numbers_are_int64(dtype):
    x = np.array([[1, 1, 0], [1, 1, 1]], dtype)
    for op, want in [(gt.sum, [2, 2, 1]), (gt.prod, [1, 1, 0]),
                     (gt.cumsum, [[1, 2, 2], [1, 2, 3]])]:
        got = compute(op, x, axis=-1 if op is gt.cumsum else 0)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, want)


def test_uint8_does_not_wrap_around():
    assert compute(gt.sum, np.full(300, 255, np.uint8)) == 300 * 255


def test_variance_of_large_numbers_does_not_cancel():
    x = np.array([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])
    assert compute(gt.var, x) == 22.5


def test_empty_axes():
    assert compute(gt.sum, np.zeros((0, 3)), axis=0).tolist() == [0, 0, 0]
    assert compute(gt.prod, np.zeros((0, 3)), axis=0).tolist() == [1, 1, 1]
    for op in (gt.mean, gt.max, gt.argmax, gt.logsumexp):
        assert compute(op, np.zeros((0, 3)), axis=1).shape == (0,)
    assert compute(gt.softmax, np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert compute(gt.sparsemax, np.zeros((2, 0), np.float32)).shape == (2, 0)


# ---- gradients where they are a matter of convention -------------------------------------------

def test_ties_share_the_gradient():
    x = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]
    np.testing.assert_allclose(slope(gt.max, x, axis=1), [[0, 0.5, 0.5], [1 / 3] * 3])
    np.testing.assert_allclose(slope(gt.min, x, axis=1, weights=[1, 6]), [[1, 0, 0], [2, 2, 2]])


def test_gradient_of_a_product_with_zeros():
    x = [[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 0.0, 4.0]]
    np.testing.assert_array_equal(slope(gt.prod, x, axis=1), [[12, 8, 6], [0, 8, 0], [0, 0, 0]])


def test_gradients_do_not_contain_the_batch_size():
    def text(batch, op, **settings):
        x = gt.placeholder((batch, 3))
        loss = (op(x, **settings) * 2.0).sum()
        lines = str(gt.graph(*gt.gradients(loss, [x]))).splitlines()
        return [line.rpartition(" : ")[0] for line in lines if "placeholder" not in line]

    for op in (gt.sum, gt.mean, gt.var, gt.max, gt.prod, gt.logsumexp):
        for axis in (None, 0, 1):
            assert text(5, op, axis=axis) == text(7, op, axis=axis)


# ---- positions and truth values ----------------------------------------------------------------

def test_positions():
    x = np.array([[1.0, 3.0, 3.0], [5.0, -2.0, 0.0]])
    for op, axis, want in [(gt.argmax, 1, [1, 0]), (gt.argmin, 1, [0, 1]),
                           (gt.argmax, 0, [1, 0, 0]), (gt.argmax, None, 3), (gt.argmin, None, 4)]:
        got = compute(op, x, axis=axis)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, want)


def test_all_and_any():
    x = np.array([[True, False], [True, True]])
    assert compute(gt.all, x, axis=0).tolist() == [True, False]
    assert compute(gt.any, x, axis=1, keepdims=True).tolist() == [[True], [True]]
    assert not compute(gt.all, x)


# ---- softmax -----------------------------------------------------------------------------------

@pytest.mark.parametrize("axis", [-1, 0, (0, 2), None])
def test_softmax_against_scipy(axis):
    x = np.random.default_rng(0).standard_normal((3, 4, 2)) * 300
    np.testing.assert_allclose(compute(gt.softmax, x, axis=axis),
                               special.softmax(x, axis), rtol=1e-12)
    np.testing.assert_allclose(compute(gt.log_softmax, x, axis=axis),
                               special.log_softmax(x, axis), rtol=1e-12)
    np.testing.assert_allclose(compute(gt.logsumexp, x, axis=axis),
                               special.logsumexp(x, axis), rtol=1e-12)


def test_masked_rows():
    x = np.float32([[-np.inf, 0, 0], [-np.inf, -np.inf, -np.inf], [1e4, -np.inf, -1e4]])
    half = math.log(2)
    np.testing.assert_allclose(compute(gt.softmax, x), [[0, 0.5, 0.5], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(compute(gt.logsumexp, x, axis=1), [half, -np.inf, 1e4], rtol=1e-6)
    np.testing.assert_allclose(
        compute(gt.log_softmax, x),
        [[-np.inf, -half, -half], [-np.inf] * 3, [0, -np.inf, -2e4]], rtol=1e-6)
    np.testing.assert_array_equal(slope(gt.logsumexp, x, axis=1),
                                  [[0, 0.5, 0.5], [0, 0, 0], [1, 0, 0]])


def test_softmax_keeps_nan_to_its_row():
    got = compute(gt.softmax, np.float32([[np.nan, 1], [0, 0]]))
    np.testing.assert_array_equal(got, [[np.nan, np.nan], [0.5, 0.5]])


# ---- cumulative sums and the largest entries ---------------------------------------------------

def test_cumsum_against_loops():
    x = np.random.default_rng(0).standard_normal((3, 4))
    forwards = [[math.fsum(row[:i + 1]) for i in range(4)] for row in x]
    backwards = [[math.fsum(row[i:]) for i in range(4)] for row in x]
    np.testing.assert_allclose(compute(gt.cumsum, x, axis=1), forwards)
    np.testing.assert_allclose(compute(gt.cumsum, x, axis=1, reverse=True), backwards)


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
def test_top_k_against_a_sort_of_pairs(dtype):
    x = np.random.default_rng(0).integers(0, 4, (20, 9)).astype(dtype)
    values, indices = compute(gt.top_k, x, k=4)
    assert (values.dtype, indices.dtype) == (np.dtype(dtype), np.int64)
    want = [sorted(range(9), key=lambda i: (-int(row[i]), i))[:4] for row in x]
    np.testing.assert_array_equal(indices, want)
    np.testing.assert_array_equal(values, np.take_along_axis(x, np.array(want), 1))


def test_top_k_gradient_goes_where_the_values_came_from():
    np.testing.assert_array_equal(
        slope(gt.top_k, [[1.0, 5.0, 5.0, 3.0]], k=3, weights=[10, 20, 30]), [[0, 10, 20, 30]])


def test_top_k_counts_nan_as_largest():
    values, indices = compute(gt.top_k, np.float32([1, np.nan, 2]), k=2)
    np.testing.assert_array_equal(values, [np.nan, 2])
    assert indices.tolist() == [1, 2]


# ---- errors ------------------------------------------------------------------------------------

F, I, EMPTY = gt.placeholder((2, 3)), gt.placeholder((2, 3), "int64"), gt.placeholder((0, 3))


@pytest.mark.parametrize("call, kind, what, fix", [
    (lambda: gt.sum(F, axis=2), errors.ShapeError, "sum: axis 2 is out of range for 2 dimensions",
     "use an axis from -2 to 1"),
    (lambda: gt.sum(F, axis=(0, -2)), errors.ShapeError, "sum: axis (0, -2) names one axis twice",
     None),
    (lambda: gt.mean(I), errors.DTypeError, "mean: needs floating-point numbers, not int64",
     'convert with gt.cast(x, dtype="float32")'),
    (lambda: gt.max(EMPTY, axis=0), errors.ShapeError,
     "max: there is nothing to reduce: an axis has length 0", None),
    (lambda: gt.argmax(F, axis=(0, 1)), errors.ParameterError,
     "argmax: an axis is a whole number, not (0, 1)", None),
    (lambda: gt.sum(F, axis=1.5), errors.ParameterError,
     "sum: an axis is a whole number, not 1.5", None),
    (lambda: gt.all(F), errors.DTypeError, "all: needs truth values, not float32",
     "compare first, as x > 0"),
    (lambda: gt.top_k(F, k=4), errors.ParameterError,
     "top_k: k must be a whole number from 0 to 3, the length of the last axis, not 4", None),
    (lambda: gt.top_k(gt.placeholder(()), k=1), errors.ShapeError,
     "top_k: a single number has no largest entries", None),
    (lambda: gt.softmax(I), errors.DTypeError, "softmax: needs floating-point numbers, not int64",
     'convert with gt.cast(x, dtype="float32")'),
])
def test_error_text(call, kind, what, fix):
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.what == what
    assert caught.value.facts.get("fix") == fix
