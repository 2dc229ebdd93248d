"""The op affine on every backend: float64 whatever the table is; predictions that read it once."""
import re

import numpy as np
import pytest

import gradatim as gt
from gradatim import LinearRegressor
from gradatim.backend.errors import ShapeError

BACKENDS = [name for name in gt.backend.available() if name in ("reference", "native")]


def parts(rows, columns, functions):
    random = np.random.default_rng(0)
    return (random.normal(size=(rows, columns)), random.normal(size=(columns, functions)),
            random.normal(size=functions))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3000, 100, 1), (4099, 21, 8), (500, 7, 9)], ids=str)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("backend", BACKENDS)
def test_affine_equals_the_product_in_float64(backend, order, shape):
    x, kernel, bias = parts(*shape)
    x = x.astype(np.float32)
    run = gt.get_backend(backend).run
    for dtype in (np.float32, np.float64):
        found = run(gt.affine, np.asarray(x, dtype, order), kernel, bias)
        np.testing.assert_allclose(found, x.astype(np.float64) @ kernel + bias,
                                   rtol=1e-12, atol=1e-12)


@pytest.mark.skipif("native" not in BACKENDS, reason="the compiled core is not here")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_does_not_depend_on_its_neighbours(dtype):
    x, kernel, bias = parts(999, 37, 2)
    run, x = gt.get_backend("native").run, x.astype(dtype)
    whole = run(gt.affine, x, kernel, bias)
    for rows in (slice(0, 1), slice(5, 8), slice(990, 999)):
        np.testing.assert_array_equal(run(gt.affine, x[rows], kernel, bias), whole[rows])


@pytest.mark.parametrize("shapes, text", [
    ([(4, 3), (2, 1), (1,)],
     "affine: the inner sizes differ or x and the kernel are no matrices: [4, 3] and [2, 1]"),
    ([(4, 3), (3, 2), (1,)],
     "affine: the bias must be [2], one number per column of the kernel, not [1]")])
def test_shapes_that_do_not_fit(shapes, text):
    with pytest.raises(ShapeError, match="^" + re.escape(text)):
        gt.affine(*map(gt.placeholder, shapes))


@pytest.mark.parametrize("value, text", [(np.nan, "Input X contains NaN."),
                                         (np.inf, "Input X contains infinity")])
@pytest.mark.parametrize("std", [False, True])
def test_what_is_not_finite_is_found_where_the_coefficient_is_zero(value, text, std):
    x, _, _ = parts(60, 2, 1)
    model = LinearRegressor().fit(x, x[:, 0])
    model.coef_ = np.array([1.0, 0.0])
    x[33, 1] = value
    with pytest.raises(ValueError, match="^" + text):
        model.predict(x, return_std=std)


def test_predictions_beyond_the_range_of_float64_are_infinite():
    x, _, _ = parts(60, 2, 1)
    model = LinearRegressor().fit(x, 1e200 * x[:, 0])
    assert np.isinf(model.predict([[1e200, 0.0]])).all()
