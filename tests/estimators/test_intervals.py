"""Intervals of regressors and forecasters: quantiles, normal heads, held-out errors."""
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import QuantileRegressor

import gradatim as gt
from gradatim.backend.errors import DataError, ParameterError
from gradatim.datasets import make_seasonal

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(240, 3))
NOISE = 0.2 + 0.8 * (X[:, 0] > 0)
Y = 500.0 + 100.0 * X[:, 1] + 50.0 * NOISE * RANDOM.normal(size=240)
FEW = {"epochs": 5, "hidden_layer_sizes": (4,), "random_state": 0}
THREE = {"loss": "quantile", "quantile": (0.1, 0.5, 0.9)}


def through_a_file(model, tmp_path):
    model.save(tmp_path / "model.h5")
    return gt.load(tmp_path / "model.h5")


@pytest.mark.parametrize("head", [
    {}, {"loss": "gaussian"}, {"loss": "quantile"},
    {"loss": "quantile", "quantile": (0.05, 0.5, 0.95)},
    {"loss": "quantile", "quantile": [0.4, 0.6]}], ids=str)
def test_conformal_intervals_hold_their_coverage(head, tmp_path):
    random, covered = np.random.default_rng(1), []
    for seed in range(6):
        rows = random.normal(size=(700, 2))
        y = rows[:, 0] + random.standard_t(3, 700) * (1 + np.abs(rows[:, 1]))
        net = gt.DNNRegressor(calibration="conformal", validation_fraction=0.5, epochs=40,
                              hidden_layer_sizes=(8,), random_state=seed, **head)
        low, high = net.fit(rows[:200], y[:200]).predict_interval(rows[200:], 0.9).T
        covered.append(np.mean((low <= y[200:]) & (y[200:] <= high)))
    assert abs(np.mean(covered) - 0.9) < 0.03
    np.testing.assert_array_equal(through_a_file(net, tmp_path).predict_interval(rows, 0.9),
                                  net.predict_interval(rows, 0.9))


def test_validation_data_of_ones_own_calibrate():
    net = gt.DNNRegressor(calibration="conformal", **FEW).fit(X, Y, X_val=X[:60], y_val=Y[:60])
    expected = np.sort(np.abs(Y[:60] - net.predict(X[:60])))
    np.testing.assert_array_equal(net.conformity_scores_[:, 0], expected)
    assert net.partial_fit(X, Y).conformity_scores_ is None


@pytest.mark.parametrize("coverage", [0, 1.0, -0.5, "most", True])
def test_coverage_is_a_share(coverage):
    with pytest.raises(ParameterError, match="coverage must be between 0 and 1"):
        gt.DNNRegressor(calibration="conformal", **FEW).fit(X, Y).predict_interval(X, coverage)


def test_intervals_that_cannot_be():
    net = gt.DNNRegressor(**FEW).fit(X, Y)
    with pytest.raises(ParameterError, match="not fitted for intervals of coverage=0.9"):
        net.predict_interval(X)
    with pytest.raises(ParameterError, match='quantiles need loss="quantile"'):
        net.predict_quantiles(X)
    with pytest.raises(ParameterError, match='return_std=True needs loss="gaussian"'):
        net.predict(X, return_std=True)
    net.set_params(calibration="conformal", validation_fraction=0.05).fit(X, Y)
    with pytest.raises(DataError, match="12 held-out samples are too few for coverage=0.95"):
        net.predict_interval(X, 0.95)


# ---- several quantiles -------------------------------------------------------------------------

def test_several_quantiles_are_those_of_linear_programming():
    net = gt.DNNRegressor(hidden_layer_sizes=(), alpha=0.0, learning_rate=0.05, random_state=0,
                          **THREE)
    found = net.fit(X, Y).predict_quantiles(X)
    assert found.shape == (240, 3) and (np.diff(found) >= 0).all()
    np.testing.assert_array_equal(net.predict(X), found[:, 1])
    np.testing.assert_array_equal(net.predict_interval(X, coverage=0.8), found[:, [0, 2]])
    for q, ours in zip(net.quantile, found.T):
        theirs = QuantileRegressor(quantile=q, alpha=0.0).fit(X, Y).predict(X)
        assert np.std(ours - theirs) < 0.05 * np.std(Y)
        assert abs(np.mean(Y <= ours) - q) < 0.03
    with pytest.raises(ParameterError, match="the net was not fitted for intervals of coverage=0.7"
                       ) as caught:
        net.predict_interval(X, coverage=0.7)
    assert "quantile=(0.15, 0.5, 0.85)" in str(caught.value)


@pytest.mark.parametrize("net, samples, more", [
    (gt.DNNRegressor, X[:30], {"n_ensemble": 2}),
    (gt.CNNRegressor, RANDOM.normal(size=(30, 6, 6)), {}),
    (gt.RNNRegressor, RANDOM.normal(size=(30, 4, 2)), {"units": 3}),
    (gt.NetworkRegressor, X[:30], {}), (gt.WideAndDeepRegressor, X[:30], {})],
    ids=lambda v: getattr(v, "__name__", ""))
def test_several_quantiles_of_several_targets(net, samples, more, tmp_path):
    model = net(epochs=3, random_state=0, **THREE, **more)
    two = np.stack([Y[:30], -3.0 * Y[:30]], axis=1)
    found = model.fit(samples, two).predict_quantiles(samples)
    assert found.shape == (30, 2, 3) and model.predict_interval(samples, 0.8).shape == (30, 2, 2)
    assert np.abs(found.mean((0, 2)) / two.mean(0) - 1).max() < 0.5        # each in its own unit
    for other in (pickle.loads(pickle.dumps(model)), through_a_file(model, tmp_path),
                  clone(model).fit(samples, two)):
        np.testing.assert_array_equal(other.predict_quantiles(samples), found)


@pytest.mark.parametrize("quantile, text", [
    ((), "quantile must be in"), ((0.9, 0.1), "several must rise"), ((0.5, "a"), "finite number"),
    (1.5, "The 'quantile' parameter of DNNRegressor must be")])
def test_quantiles_that_cannot_be(quantile, text):
    with pytest.raises(ValueError, match=text):
        gt.DNNRegressor(loss="quantile", quantile=quantile, **FEW).fit(X, Y)


# ---- forecasts ---------------------------------------------------------------------------------

SERIES = make_seasonal(300, period=6, random_state=0)
NOISY = SERIES + RANDOM.normal(0, 0.3, 300)
SMALL = {"horizon": 3, "lookback": 6, "units": 6, "epochs": 150, "random_state": 0}


@pytest.mark.parametrize("head", [THREE, {"loss": "gaussian"}], ids=["quantiles", "gaussian"])
def test_intervals_of_forecasts(head, tmp_path):
    two = np.stack([NOISY, 10.0 - 2.0 * NOISY], axis=1)
    model = gt.RNNForecaster(**SMALL, **head).fit(two[:200])
    inside = []
    for now in range(210, 290):
        ends = model.predict_interval(two[:now], coverage=0.8)
        forecast = model.predict(two[:now])
        assert ends.shape == (3, 2, 2)
        assert (ends[..., 0] <= forecast).all() and (forecast <= ends[..., 1]).all()
        inside.append((ends[..., 0] <= two[now:now + 3]) & (two[now:now + 3] <= ends[..., 1]))
    assert 0.6 < np.mean(inside) < 0.95
    loaded = through_a_file(model, tmp_path)
    np.testing.assert_array_equal(loaded.predict_interval(coverage=0.8),
                                  model.predict_interval(coverage=0.8))
    assert np.isfinite(model.score(two[200:])) and "r2" in model.history_[-1]


def test_quantiles_of_forecasts():
    model = gt.RNNForecaster(**SMALL, **THREE).fit(NOISY)
    found = model.predict_quantiles(horizon=2)
    assert found.shape == (2, 3)
    np.testing.assert_array_equal(found[:, 1], model.predict(horizon=2))
    np.testing.assert_array_equal(found[:, ::2], model.predict_interval(horizon=2, coverage=0.8))
    parts = model.predict_interval([NOISY, NOISY[:50]], coverage=0.8)
    assert [part.shape for part in parts] == [(3, 2), (3, 2)]
    plain = gt.RNNForecaster(**SMALL).fit(NOISY)
    with pytest.raises(ParameterError, match="the net was not fitted for intervals"):
        plain.predict_interval()
    with pytest.raises(ParameterError, match='quantiles need loss="quantile"'):
        plain.predict_quantiles()
