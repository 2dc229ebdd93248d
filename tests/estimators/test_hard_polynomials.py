"""LinearRegressor on hard polynomials: digits as of rational arithmetic, also streamed."""
from fractions import Fraction

import numpy as np
import pytest

from gradatim.estimators.linear_regressor import LinearRegressor

# The deviations of NIST's Wampler3 (times 1), Wampler4 (100) and Wampler5 (10,000): they are
# orthogonal to every polynomial of degree 5 on 0..20, so the coefficients stay 1.
DEVIATIONS = np.array([759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048, 2048,
                       -2048, 1838, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 759.0])


def exact_solution(X, y):
    """Intercept and coefficients in rational arithmetic: no rounding but the last."""
    rows = [[Fraction(1), *map(Fraction, map(float, row))] for row in X]
    size = len(rows[0])
    system = [[sum(row[i] * row[j] for row in rows) for j in range(size)]
              + [sum(row[i] * Fraction(float(t)) for row, t in zip(rows, y))] for i in range(size)]
    for i in range(size):
        for j in range(size):
            if j != i:
                factor = system[j][i] / system[i][i]
                system[j] = [a - factor * b for a, b in zip(system[j], system[i])]
    return np.array([float(system[i][size] / system[i][i]) for i in range(size)])


def wampler(noise, base=1.0):
    """NIST's Wampler problems: y = sum (base x)^k, k = 0..5, with the given multiple of noise."""
    x = np.arange(21.0)
    y = ((base * x[:, None]) ** np.arange(6)).sum(axis=1) + noise * DEVIATIONS
    return x[:, None] ** np.arange(1, 6), y


def filippelli():
    """A degree 10 polynomial on 82 points of [-9, -3], like NIST's Filippelli problem."""
    random = np.random.default_rng(0)
    x = np.linspace(-8.9, -3.1, 82)
    coefficients = [1467.0, 2772.0, 2316.0, 1128.0, 354.0, 75.1, 10.9, 1.06, 6.7e-2, 2.5e-3, 4e-5]
    y = -(x[:, None] ** np.arange(11)) @ coefficients + 0.003 * random.normal(size=82)
    return x[:, None] ** np.arange(1, 11), y


HARD = {"wampler1": lambda: wampler(0), "wampler2": lambda: wampler(0, 0.1),
        "wampler3": lambda: wampler(1), "wampler4": lambda: wampler(100),
        "wampler5": lambda: wampler(10_000), "filippelli": filippelli}


def fitted(X, y, size):
    """From blocks of so many rows."""
    if size == len(X):
        return LinearRegressor().fit(X, y)
    model = LinearRegressor()
    for start in range(0, len(X), size):
        model.partial_fit(X[start:start + size], y[start:start + size])
    return model


@pytest.mark.parametrize("size", [None, 1, 5, 8, 30])
@pytest.mark.parametrize("name", HARD)
def test_digits_on_hard_polynomials(name, size):
    X, y = HARD[name]()
    model = fitted(X, y, size or len(X))
    found = np.append(model.intercept_, model.coef_)
    np.testing.assert_allclose(found, exact_solution(X, y), rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_digits_on_a_long_hard_stream(seed):
    """More rows than are kept as they are: the factor itself must hold the digits."""
    random = np.random.default_rng(seed)
    x = random.uniform(-9, -3, 400)
    X, y = x[:, None] ** np.arange(1, 9), random.normal(size=400)
    model = fitted(X, y, 25)
    assert model.r_factor_.shape == (10, 10) and model.condition_ > 1e5
    found = np.append(model.intercept_, model.coef_)
    np.testing.assert_allclose(found, exact_solution(X, y), rtol=1e-9)


def test_wampler3_standard_errors():
    """NIST's certified values."""
    model = LinearRegressor().fit(*wampler(1))
    assert model.degrees_of_freedom_ == 15
    np.testing.assert_allclose(model.residual_std_, 2360.14502379268, rtol=1e-12)
    np.testing.assert_allclose(model.intercept_standard_error_, 2152.32624678170, rtol=1e-12)
    np.testing.assert_allclose(model.standard_errors_[0], 2363.55173469681, rtol=1e-10)
