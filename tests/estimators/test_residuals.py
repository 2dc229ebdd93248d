"""Residuals: the least variance of Gaussian heads on small tables, and coverage with it."""
import numpy as np
import pytest
from sklearn.base import clone

import gradatim as gt
from gradatim.estimators import residuals
from gradatim.layers import GaussianLikelihood


def test_gaussian_heads_do_not_learn_a_small_table_by_heart(tmp_path):
    random = np.random.default_rng(0)
    rows = random.normal(size=(1060, 5))
    targets = rows[:, 0] + np.sin(2 * rows[:, 1]) + 0.3 * random.normal(size=1060)

    def judged(net):
        mean, deviation = net.predict(rows[60:], return_std=True)
        low, high = net.predict_interval(rows[60:], coverage=0.9).T
        held = np.mean((low <= targets[60:]) & (targets[60:] <= high))
        return held, np.mean(np.log(deviation) + ((targets[60:] - mean) / deviation)**2 / 2)
    floored = gt.DNNRegressor(loss="gaussian", random_state=0).fit(rows[:60], targets[:60])
    free = clone(floored).set_params(loss=GaussianLikelihood()).fit(rows[:60], targets[:60])
    (held, surprise), (held_free, surprise_free) = judged(floored), judged(free)
    assert held_free < 0.5 and 0.7 < held < 0.97
    assert surprise < 1.0 and surprise_free > 10.0
    floored.save(tmp_path / "net.h5")
    np.testing.assert_array_equal(gt.load(tmp_path / "net.h5").predict_interval(rows),
                                  floored.predict_interval(rows))
    raw = clone(floored).set_params(standardize=False).fit(rows[:60], 10 * targets[:60])
    assert raw._min_variance == pytest.approx(
        100 * targets[:60].var() * floored._min_variance, rel=1e-6)


def test_the_unexplained_share_is_that_of_ridge_regression():
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 3))
    y = rows[:, :1] + 0.5 * random.normal(size=(40, 1))
    weights = random.integers(1, 4, 40)
    repeated = [np.repeat(a, weights, axis=0) for a in (rows, y)]
    found = residuals.unexplained(rows, y, weights.astype(float))
    assert found == pytest.approx(residuals.unexplained(*repeated, np.ones(weights.sum())))
    x, z = ((a - a.mean(axis=0)) / a.std(axis=0) for a in repeated)
    hats = [x @ np.linalg.solve(x.T @ x + penalty * np.eye(3), x.T) + 1 / len(x)
            for penalty in residuals.PENALTIES]
    assert found == pytest.approx(min(
        len(x) * ((z - hat @ z)**2).sum() / (len(x) - np.trace(hat))**2 for hat in hats))
    assert residuals.least_variance(rows, rows[:, :1], None) < 1e-4, "nothing is left"
    assert residuals.unexplained(rows[:3], y[:3], np.ones(3)) <= 1.0
    assert residuals.least_variance(list(rows), y, None) == 0.0
