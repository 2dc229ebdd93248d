"""The op gram on every backend, whatever lies where; and least squares that reads a table once."""
import re
import threading

import numpy as np
import pytest
import threadpoolctl
from sklearn.linear_model import LinearRegression

import gradatim as gt
from gradatim import LinearRegressor
from gradatim.backend.errors import ShapeError

BACKENDS = [name for name in gt.backend.available() if name in ("reference", "native")]


def table(rows, columns, targets=1):
    random = np.random.default_rng(0)
    return (random.normal(3.0, 1.0, (rows, columns)), random.normal(size=(rows, targets)),
            random.normal(3.0, 0.1, columns + targets), random.uniform(0.5, 2.0, rows))


def expected(x, y, centre, root=1.0):
    rows = np.column_stack([np.ones(len(x)), np.column_stack([x, y]) - centre])
    rows = rows * np.reshape(root, (-1, 1))
    return rows.T @ rows


LAYOUTS = {
    "rows whole": lambda x: x,
    "columns whole": np.asfortranarray,
    "every other row and column": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
}
# Tiles, panels, packed blocks and strips of rows end at odd places; beyond 512 columns BLAS serves.
SHAPES = [(1, 1, 1), (130, 7, 2), (700, 24, 0), (700, 0, 2), (2049, 23, 1), (4100, 101, 3),
          (600, 510, 1), (600, 511, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_gram_equals_the_product(backend, shape):
    x, y, centre, root = table(*shape)
    run, op = gt.get_backend(backend).run, gt.gram
    close = dict(rtol=1e-12, atol=1e-12 * shape[0])
    np.testing.assert_allclose(run(op, x, y, centre, root), expected(x, y, centre, root), **close)
    np.testing.assert_allclose(run(op, x, y, centre), expected(x, y, centre), **close)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_gram_does_not_depend_on_how_x_lies(backend, layout):
    x, y, centre, root = table(3000, 37)
    run = gt.get_backend(backend).run
    x = x.astype(np.float32).astype(np.float64)
    found = run(gt.gram, LAYOUTS[layout](x), y, centre, root)
    np.testing.assert_allclose(found, run(gt.gram, x, y, centre, root), rtol=1e-13, atol=1e-9)
    narrow = run(gt.gram, x.astype(np.float32), y, centre, root)
    np.testing.assert_array_equal(narrow, run(gt.gram, x, y, centre, root))


@pytest.mark.skipif("native" not in BACKENDS, reason="the compiled core is not here")
def test_gram_has_the_same_bits_with_any_number_of_threads():
    x, y, centre, root = table(20_000, 30)
    run = gt.get_backend("native").run
    with threadpoolctl.threadpool_limits(1, "openmp"):
        one = run(gt.gram, x, y, centre, root)
    with threadpoolctl.threadpool_limits(3, "openmp"):
        three = run(gt.gram, x, y, centre, root)
    np.testing.assert_array_equal(one, three)


BAD = [     # (shapes, text)
    ([(4, 3), (5, 1), (4,)], "gram: x and y must be matrices with the same number of rows"),
    ([(4,), (4, 1), (2,)], "gram: x and y must be matrices with the same number of rows"),
    ([(4, 3), (4, 1), (3,)], "gram: the centre must be [4], one number per column, not [3]"),
    ([(4, 3), (4, 1), (4,), (3,)],
     "gram: the roots of the weights must be [4], one per row, not [3]"),
]


@pytest.mark.parametrize("shapes, text", BAD)
def test_shapes_that_do_not_fit(shapes, text):
    with pytest.raises(ShapeError, match="^" + re.escape(text)):
        gt.gram(*map(gt.placeholder, shapes))


# ---- least squares -----------------------------------------------------------------------------

@pytest.mark.parametrize("value, text", [(np.nan, "Input X contains NaN."),
                                         (-np.inf, "Input X contains infinity")])
@pytest.mark.parametrize("weight", [None, np.arange(3000) > 0, np.ones(3000)])
@pytest.mark.parametrize("row", [0, 2999])
def test_what_is_not_finite_is_found_in_a_tall_table(value, text, weight, row):
    x, y, *_ = table(3000, 4)
    x[row, 2] = value
    with pytest.raises(ValueError, match="^" + text):
        LinearRegressor().fit(x, y[:, 0], weight)
    with pytest.raises(ValueError, match="^" + text):
        LinearRegressor().fit(x[:, 2:3], y[:, 0], weight)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_squares_out_of_range_are_no_mistake(scale):
    x, y, *_ = table(3000, 4)
    model = LinearRegressor().fit(scale * x, y[:, 0])
    np.testing.assert_allclose(model.coef_ * scale, LinearRegressor().fit(x, y[:, 0]).coef_,
                               rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", "CF")
def test_large_tables_agree_with_scikit_learn(dtype, order):
    x, y, _, root = table(200_000, 25)      # more than one block of rows
    x = np.asarray(x, dtype, order)
    model = LinearRegressor().fit(x, y[:, 0], root)
    wanted = LinearRegression().fit(x.astype(np.float64), y[:, 0], root)
    np.testing.assert_allclose(model.coef_, wanted.coef_, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model.intercept_, wanted.intercept_, rtol=1e-10)


def test_fits_side_by_side_leave_blas_its_threads():
    x, y, *_ = table(5000, 30)
    LinearRegressor().fit(x, y[:, 0])
    threads = lambda: [p["num_threads"] for p in threadpoolctl.threadpool_info()
                       if p["user_api"] == "blas"]
    before, found = threads(), []
    workers = [threading.Thread(target=lambda: found.append(
        [LinearRegressor().fit(x, y[:, 0]).coef_ for _ in range(5)])) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert threads() == before and len(found) == 4
    np.testing.assert_array_equal(np.ptp(found, axis=(0, 1)), 0.0)
