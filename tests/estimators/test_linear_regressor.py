"""LinearRegressor: closed forms, streaming, weights, checks."""
import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils import estimator_checks

from gradatim.backend.errors import DataError, ParameterError, ShapeError
from gradatim.estimators import least_squares
from gradatim.estimators.linear_regressor import LinearRegressor


def make(rows=60, columns=4, targets=None, seed=0):
    """A random regression problem with an offset."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, columns)) + 3.0
    y = X @ random.normal(size=(columns, targets or 1)) + random.normal(size=(rows, targets or 1))
    return X, y + 5.0 if targets else y[:, 0] + 5.0


def stream(X, y, size, weight=None, **parameters):
    """partial_fit in blocks of `size` rows."""
    model = LinearRegressor(**parameters)
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        model.partial_fit(X[rows], y[rows], None if weight is None else weight[rows])
    return model


def learned(model):
    """All numbers a fit has found, as one vector."""
    parts = (model.coef_, model.intercept_, model.standard_errors_, model.residual_std_,
             model.intercept_standard_error_, model.degrees_of_freedom_, model.rank_)
    return np.concatenate([np.ravel(part) for part in parts])


@estimator_checks.parametrize_with_checks([
    LinearRegressor(), LinearRegressor(alpha=1.0), LinearRegressor(fit_intercept=False)])
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", [
    "check_dataframe_column_names_consistency", "check_param_validation",
    "check_inplace_ensure_writeable"])
def test_scikit_learn_checks_outside_the_list(name):
    getattr(estimator_checks, name)("LinearRegressor", LinearRegressor())


def test_diabetes_equals_lstsq():
    X, y = load_diabetes(return_X_y=True)
    expected = scipy.linalg.lstsq(np.column_stack([np.ones(len(X)), X]), y)[0]
    model = LinearRegressor().fit(X, y)
    np.testing.assert_allclose(model.coef_, expected[1:], rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, expected[0], rtol=1e-10)
    assert round(model.score(X, y), 6) == 0.517748


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9])
def test_an_offset_costs_no_digits(offset):
    X, y = make()
    shifted = X + offset
    model = LinearRegressor().fit(shifted, y)
    expected = LinearRegressor().fit(shifted - offset, y)   # the rounding of X + offset is in both
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-12)
    np.testing.assert_allclose(model.standard_errors_, expected.standard_errors_, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e-30, 1e30, 1e100, 1e157])
def test_units_do_not_matter(scale):
    X, y = make(rows=3000)
    units = np.array([scale, 1.0, 1.0, 1.0])
    model, expected = LinearRegressor().fit(X * units, y), LinearRegressor().fit(X, y)
    np.testing.assert_allclose(model.coef_ * units, expected.coef_, rtol=1e-11)
    assert model.rank_ == 4


@pytest.mark.parametrize("targets", [None, 3])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("size", [1, 7, 500, 1999])
def test_streaming_equals_one_fit(targets, alpha, intercept, size):
    X, y = make(rows=2000 if size > 100 else 100, targets=targets)
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    weight[::size] = 1.5        # a block must not be all zeros
    parameters = dict(alpha=alpha, fit_intercept=intercept)
    model = stream(X, y, size, weight, **parameters)
    expected = LinearRegressor(**parameters).fit(X, y, weight)
    np.testing.assert_allclose(learned(model), learned(expected), rtol=1e-10)
    assert model.n_samples_seen_ == expected.n_samples_seen_ == np.count_nonzero(weight)


@pytest.mark.parametrize("route", ["cholesky_factor", "householder_factor", "extended_factor"])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_route_finds_the_same_factor(route, weighted):
    X, y = make(rows=3000, targets=2)
    X[:, 1] += 20 * X[:, 0]                                     # hard enough for two passes
    weight = np.random.default_rng(2).uniform(0.5, 2, 3000) if weighted else np.ones(3000)
    rows = least_squares.Rows(X, y, np.sqrt(weight), None, 1)
    high, low = getattr(least_squares, route)(rows)
    A = np.sqrt(weight)[:, None] * np.column_stack([np.ones(3000), X, y])
    expected = np.linalg.qr(A, mode="r")
    expected *= np.sign(np.diagonal(expected))[:, None]
    np.testing.assert_allclose(high + low, expected, rtol=1e-10, atol=1e-10)


def test_cholesky_hands_over_what_it_cannot_solve():
    X, y = make(rows=3000)
    rows = lambda X, y: least_squares.Rows(X, y[:, None], None, None, 1)
    assert least_squares.cholesky_factor(rows(X, y)) is not None
    assert least_squares.cholesky_factor(rows(X, X @ np.ones(4))) is None       # a perfect fit
    X[:, 1] = X[:, 0] + 1e-6 * X[:, 1]
    assert least_squares.cholesky_factor(rows(X, y)) is None
    assert least_squares.extended_factor(rows(X, y)) is not None
    X[:, 1] = X[:, 0]
    assert least_squares.extended_factor(rows(X, y)) is None


@pytest.mark.parametrize("rows", [60, 3000])
def test_weights_repeat_and_remove_rows(rows):
    X, y = make(rows=rows)
    weight = np.random.default_rng(1).integers(0, 4, rows)
    model = LinearRegressor().fit(X, y, weight)
    repeated = LinearRegressor().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(model.coef_, repeated.coef_, rtol=1e-11)
    np.testing.assert_allclose(model.intercept_, repeated.intercept_, rtol=1e-11)
    keep = weight > 0
    removed = LinearRegressor().fit(X[keep], y[keep], weight[keep])
    np.testing.assert_array_equal(learned(model), learned(removed))
    for kind in (list, pd.Series, np.float32):
        again = LinearRegressor().fit(X, y, kind(weight))
        np.testing.assert_array_equal(learned(again), learned(model))


DEFICIENT = {
    "copied column": lambda X: np.column_stack([X, X[:, 0]]),
    "sum of columns": lambda X: np.column_stack([X, X[:, 0] + X[:, 1]]),
    "constant column": lambda X: np.column_stack([X, np.full(len(X), 0.1)]),
    "fewer rows than columns": lambda X: X[:3],
    "one row": lambda X: X[:1],
}


@pytest.mark.parametrize("rows", [40, 3000])
@pytest.mark.parametrize("name", DEFICIENT)
def test_rank_deficient_takes_the_least_norm(name, rows):
    X, _ = make(rows=rows)
    X = DEFICIENT[name](X)
    y = np.random.default_rng(3).normal(size=len(X))
    model = LinearRegressor().fit(X, y)
    centred = X - X.mean(axis=0)
    expected, _, rank, _ = scipy.linalg.lstsq(centred, y - y.mean(), cond=1e-12)
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-9, atol=1e-12)
    assert model.rank_ == rank and np.isinf(model.condition_)
    freedom = len(X) - 1 - rank
    assert model.degrees_of_freedom_ == freedom
    if freedom:
        residual = np.linalg.norm(y - y.mean() - centred @ expected) / np.sqrt(freedom)
        np.testing.assert_allclose(model.residual_std_, residual, rtol=1e-10)
    covariance = model.residual_std_ ** 2 * np.linalg.pinv(centred.T @ centred, rcond=1e-10)
    np.testing.assert_allclose(model.standard_errors_, np.sqrt(np.diag(covariance).clip(0)),
                               rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(stream(X, y, 7).coef_, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(60, 4), (3000, 4), (5, 9)])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_equals_scikit_learn(shape, alpha, intercept):
    X, y = make(*shape, targets=2)
    weight = np.random.default_rng(4).uniform(0.5, 2.0, len(X))
    model = LinearRegressor(alpha, fit_intercept=intercept).fit(X, y, weight)
    expected = Ridge(alpha, fit_intercept=intercept, solver="svd").fit(X, y, weight)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-8, atol=1e-10)
    centred = (X - intercept * np.average(X, axis=0, weights=weight)) * np.sqrt(weight)[:, None]
    squares = np.linalg.svd(centred, compute_uv=False) ** 2
    freedom = len(X) - intercept - np.sum(squares / (squares + alpha))
    np.testing.assert_allclose(model.degrees_of_freedom_, freedom, rtol=1e-8)
    squares = weight @ (y - expected.predict(X)) ** 2
    np.testing.assert_allclose(model.residual_std_, np.sqrt(squares / freedom), rtol=1e-6)
    inverse = np.linalg.inv(centred.T @ centred + alpha * np.eye(X.shape[1]))
    sandwich = inverse @ centred.T @ centred @ inverse
    deviations = np.outer(model.residual_std_, np.sqrt(np.diag(sandwich)))
    np.testing.assert_allclose(model.standard_errors_, deviations, rtol=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("rows", [60, 3000])
def test_standard_errors_are_the_textbooks(intercept, rows):
    X, y = make(rows=rows, targets=2)
    weight = np.random.default_rng(5).uniform(0.5, 2.0, rows)
    model = LinearRegressor(fit_intercept=intercept).fit(X, y, weight)
    A = np.column_stack([np.ones(rows), X]) if intercept else X
    inverse = np.linalg.inv(A.T @ (weight[:, None] * A))
    residual = y - A @ inverse @ A.T @ (weight[:, None] * y)
    noise = np.sqrt((weight @ residual ** 2) / (rows - A.shape[1]))
    errors = np.outer(noise, np.sqrt(np.diag(inverse)))
    np.testing.assert_allclose(model.residual_std_, noise, rtol=1e-9)
    np.testing.assert_allclose(model.standard_errors_, errors[:, int(intercept):], rtol=1e-9)
    np.testing.assert_allclose(model.intercept_standard_error_, errors[:, 0] * intercept, rtol=1e-9)
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(X))
    spread = np.sqrt(1 + np.sum((A @ inverse) * A, axis=1))
    np.testing.assert_allclose(std, np.outer(spread, noise), rtol=1e-9)


def test_no_degree_of_freedom_gives_nan():
    X, y = make(rows=5)
    model = LinearRegressor().fit(X, y)
    assert model.degrees_of_freedom_ == 0 and np.isnan(model.standard_errors_).all()
    assert np.isnan(model.predict(X, return_std=True)[1]).all()
    np.testing.assert_allclose(model.predict(X), y)


def test_targets_are_independent_of_each_other():
    X, y = make(rows=3000, targets=3)
    model = LinearRegressor().fit(X, y)
    assert model.coef_.shape == model.standard_errors_.shape == (3, 4)
    for k in range(3):
        single = LinearRegressor().fit(X, y[:, k])
        assert single.coef_.shape == (4,) and np.ndim(single.intercept_) == 0
        np.testing.assert_allclose(model.coef_[k], single.coef_, rtol=1e-12)
        np.testing.assert_allclose(model.standard_errors_[k], single.standard_errors_, rtol=1e-10)
    assert LinearRegressor().fit(X, y[:, :1]).predict(X).shape == (3000, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "uint8", "bool", "longdouble"])
def test_arithmetic_is_float64_whatever_the_dtype(dtype):
    X = (10 * np.random.default_rng(6).normal(size=(3000, 3))).clip(0, 99).astype(dtype)
    y = np.random.default_rng(7).normal(size=3000)
    model, expected = LinearRegressor().fit(X, y), LinearRegressor().fit(X.astype(np.float64), y)
    np.testing.assert_array_equal(learned(model), learned(expected))
    np.testing.assert_array_equal(model.predict(X, return_std=True),
                                  expected.predict(X.astype(np.float64), return_std=True))


def test_sparse_and_column_major_input_give_the_same():
    X, y = make(rows=3000)
    X[X < 3] = 0.0
    expected = LinearRegressor().fit(X, y)
    for kind in (scipy.sparse.csr_array, scipy.sparse.csc_matrix, np.asfortranarray):
        model = LinearRegressor().fit(kind(X), y)
        np.testing.assert_allclose(learned(model), learned(expected), rtol=1e-12)
        for found, wanted in zip(model.predict(kind(X), return_std=True),
                                 expected.predict(X, return_std=True)):
            np.testing.assert_allclose(found, wanted, atol=1e-13)


def test_alpha_may_change_between_blocks():
    X, y = make()
    model = stream(X, y, 20)
    model.set_params(alpha=3.0).partial_fit(X[:1], y[:1])
    expected = Ridge(3.0).fit(np.vstack([X, X[:1]]), np.append(y, y[0]))
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-10)


def test_fit_forgets_and_partial_fit_goes_on_after_fit():
    X, y = make()
    expected = LinearRegressor().fit(X, y)
    np.testing.assert_array_equal(learned(stream(-X, y, 9).fit(X, y)), learned(expected))
    model = LinearRegressor().fit(X[:30], y[:30]).partial_fit(X[30:], y[30:])
    np.testing.assert_allclose(learned(model), learned(expected), rtol=1e-11)


X4, Y4 = make(rows=10)
BAD = [     # (how, error, first line)
    (lambda m: m.fit(X4, Y4, np.zeros(10)), ValueError,
     "Sample weights must contain at least one non-zero number."),
    (lambda m: m.fit(X4, Y4, -np.ones(10)), ValueError,
     "Negative values in data passed to `sample_weight`"),
    (lambda m: m.fit(X4, Y4, np.ones((10, 2))), ValueError, "Sample weights must be 1D array"),
    (lambda m: m.fit(np.where(X4 > 3, np.nan, X4), Y4), ValueError, "Input X contains NaN."),
    (lambda m: m.fit(X4, np.full(10, np.inf)), ValueError, "Input y contains infinity"),
    (lambda m: m.fit(X4, Y4[:9]), ValueError, "Found input variables with inconsistent numbers"),
    (lambda m: m.fit(X4, np.array(list("abcdefghij"))), DataError, "y must hold numbers"),
    (lambda m: m.fit(X4, scipy.sparse.csr_array(Y4[:, None])), DataError, "y is sparse, but"),
    (lambda m: m.partial_fit(X4[:, :3], Y4), ValueError,
     "X has 3 features, but LinearRegressor is expecting 4 features as input"),
    (lambda m: m.partial_fit(X4, np.stack([Y4, Y4], 1)), ShapeError,
     "partial_fit: y has other targets than in the first call"),
    (lambda m: m.set_params(fit_intercept=False).partial_fit(X4, Y4), ParameterError,
     "partial_fit: fit_intercept was changed after the first call"),
    (lambda m: m.set_params(alpha=-1.0).fit(X4, Y4), ValueError,
     "The 'alpha' parameter of LinearRegressor must be a float in the range [0.0, inf). Got -1.0"),
]


@pytest.mark.parametrize("how, error, text", BAD, ids=[text for *_, text in BAD])
def test_bad_input_is_named_and_the_earlier_fit_kept(how, error, text):
    model = LinearRegressor().fit(X4, Y4)
    before = learned(model), model.r_factor_.copy()
    with pytest.raises(error) as caught:
        how(model)
    assert str(caught.value).startswith(text)
    np.testing.assert_array_equal(learned(model), before[0])
    np.testing.assert_array_equal(model.r_factor_, before[1])
    assert model.n_features_in_ == 4 and model.n_samples_seen_ == 10


def test_a_first_fit_that_fails_leaves_nothing():
    model = LinearRegressor()
    for learn in (model.fit, model.partial_fit):
        with pytest.raises(ValueError):
            learn(X4, Y4, np.zeros(10))
        assert vars(model) == {"alpha": 0.0, "fit_intercept": True}
    model.partial_fit(X4[:, :2], Y4)
    assert model.n_features_in_ == 2


def test_unfitted_and_cloned():
    with pytest.raises(NotFittedError):
        LinearRegressor().predict(X4)
    copy = clone(LinearRegressor(alpha=2, fit_intercept=False).fit(X4, Y4))
    assert copy.get_params() == {"alpha": 2, "fit_intercept": False} and not hasattr(copy, "coef_")


def test_agrees_with_scikit_learn_on_large_data():
    X, y = make(rows=30_000, columns=20)
    expected = LinearRegression().fit(X, y)
    np.testing.assert_allclose(LinearRegressor().fit(X, y).coef_, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(stream(X, y, 7_000).coef_, expected.coef_, rtol=1e-10)


@pytest.mark.parametrize("value", [0.1, 7.3, 1e9 + 0.1])
def test_a_constant_column_alone_has_rank_zero(value):
    """Its rounding must not be taken for a signal, however the rows are cut."""
    X, y = np.full((50, 1), value), make(rows=50)[1]
    for model in (LinearRegressor().fit(X, y), stream(X, y, 7)):
        assert model.rank_ == 0 and model.coef_ == 0.0 and model.degrees_of_freedom_ == 49
        np.testing.assert_allclose(model.predict(X), y.mean(), rtol=1e-13)


def test_columns_revealed_late_in_a_stream():
    """A rare category, and a pair of columns equal in the first half, end as in one fit."""
    random = np.random.default_rng(8)
    X, y = random.normal(size=(6000, 4)), random.normal(size=6000)
    X[:3000, 3] = X[:3000, 2]
    X[:, 0] = 0.0
    X[5500, 0] = 1.0
    expected, model = LinearRegressor().fit(X, y), stream(X, y, 100)
    assert model.rank_ == expected.rank_ == 4
    np.testing.assert_allclose(learned(model), learned(expected), rtol=1e-9)
