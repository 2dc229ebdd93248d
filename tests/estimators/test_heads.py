"""Heads of regressors, calibration of classifiers, ensembles, balanced sampling."""
import copy
import pickle
from statistics import NormalDist

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import QuantileRegressor, TweedieRegressor

import gradatim as gt
from gradatim.backend.errors import CorruptFileError, DataError, ParameterError, ShapeError
from gradatim.backend.model_file import read_model, write_model
from gradatim.datasets import OnDisk
from gradatim.estimators.calibration import best_temperature, tempered
from gradatim.layers.distribution_losses import GaussianLikelihood, Tweedie
from gradatim.training.sources import Source, balanced_order

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(240, 3))
NOISE = 0.2 + 0.8 * (X[:, 0] > 0)
Y = 500.0 + 100.0 * X[:, 1] + 50.0 * NOISE * RANDOM.normal(size=240)
LABELS = (X[:, 0] + 0.5 * RANDOM.normal(size=240) > 0.8).astype(int)
LINEAR = {"hidden_layer_sizes": (), "alpha": 0.0, "random_state": 0}
FEW = {"epochs": 5, "hidden_layer_sizes": (4,), "random_state": 0}
LOSSES = ["squared_error", "absolute_error", "huber", "quantile", "poisson", "tweedie", "gaussian"]


def through_a_file(model, tmp_path):
    model.save(tmp_path / "model.h5")
    return gt.load(tmp_path / "model.h5")


# ---- losses ------------------------------------------------------------------------------------

@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 2.5, 3.0])
def test_tweedie_is_half_the_deviance_up_to_a_constant(power):
    from sklearn.metrics import mean_tweedie_deviance
    y, p, q = RANDOM.uniform(0.5, 3.0, (3, 8, 1))

    def loss(p):
        return gt.run(Tweedie(power)(gt.constant(y), gt.constant(p)))
    for i, difference in enumerate(loss(p) - loss(q)):
        deviance = [mean_tweedie_deviance(y[i], a[i], power=power) / 2 for a in (p, q)]
        assert difference == pytest.approx(deviance[0] - deviance[1], abs=1e-5)


def test_gaussian_is_the_negative_logarithm_of_the_density():
    y, mean, raw = RANDOM.normal(size=(3, 6, 1))
    found = gt.run(GaussianLikelihood()(gt.constant(y), gt.constant(np.hstack([mean, raw]))))
    for row, value in enumerate(found):
        sigma = np.sqrt(np.log1p(np.exp(raw[row, 0])) + 1e-6)
        density = NormalDist(mean[row, 0], sigma).pdf(y[row, 0])
        assert value == pytest.approx(-np.log(density) - np.log(2 * np.pi) / 2, abs=1e-6)
    with pytest.raises(ShapeError, match="GaussianLikelihood needs 2 numbers for every target"):
        GaussianLikelihood()(gt.constant(y), gt.constant(np.hstack([mean, raw, raw])))


@pytest.mark.parametrize("power", [0.5, 3.5, "x"])
def test_powers(power):
    with pytest.raises(ParameterError, match="power"):
        Tweedie(power)


# ---- heads -------------------------------------------------------------------------------------

@pytest.mark.parametrize("loss, standardize", [*((loss, True) for loss in LOSSES),
                                               ("tweedie", False), ("gaussian", False)])
def test_heads_answer_in_the_unit_of_the_targets(loss, standardize, tmp_path):
    y = Y if standardize else Y / 500
    net = gt.DNNRegressor(loss=loss, standardize=standardize, n_ensemble=2, epochs=100,
                          hidden_layer_sizes=(8,), learning_rate=0.03, random_state=0)
    predicted = net.fit(X, y).predict(X)
    assert predicted.shape == (240,) and abs(predicted.mean() / y.mean() - 1) < 0.2
    if loss in ("poisson", "tweedie"):
        assert (predicted > 0).all()
    for other in (pickle.loads(pickle.dumps(net)), through_a_file(net, tmp_path)):
        np.testing.assert_array_equal(other.predict(X), predicted)
    np.testing.assert_array_equal(clone(net).fit(X, y).predict(X), predicted)


@pytest.mark.parametrize("net, samples, more", [
    (gt.CNNRegressor, RANDOM.normal(size=(30, 6, 6)), {}),
    (gt.RNNRegressor, [RANDOM.normal(size=(3 + i % 3, 2)) for i in range(30)], {"units": 3}),
    (gt.NetworkRegressor, X[:30], {}), (gt.WideAndDeepRegressor, X[:30], {})])
@pytest.mark.parametrize("loss", ["quantile", "tweedie", "gaussian"])
def test_every_regressor_has_heads(net, samples, more, loss):
    model = net(loss=loss, epochs=2, n_ensemble=2, calibration="conformal",
                validation_fraction=0.5, random_state=0, **more)
    two = np.abs(np.stack([Y[:30], 2 * Y[:30]], axis=1))
    assert model.fit(samples, two).predict(samples).shape == (30, 2)
    assert model.predict_interval(samples, coverage=0.8).shape == (30, 2, 2)
    if loss == "gaussian":
        mean, deviation = model.predict(samples, return_std=True)
        assert mean.shape == deviation.shape == (30, 2) and (deviation > 0).all()


def test_quantiles_are_those_of_linear_programming():
    ours = gt.DNNRegressor(loss="quantile", quantile=0.8, learning_rate=0.05, **LINEAR).fit(X, Y)
    theirs = QuantileRegressor(quantile=0.8, alpha=0.0).fit(X, Y)
    assert np.std(ours.predict(X) - theirs.predict(X)) < 0.05 * np.std(Y)
    assert abs(np.mean(Y <= ours.predict(X)) - 0.8) < 0.02


@pytest.mark.parametrize("loss, power", [("poisson", 1.0), ("tweedie", 1.5), ("tweedie", 2.0)])
def test_exponential_means_are_those_of_generalised_linear_models(loss, power):
    y = np.exp(X @ [0.5, -0.3, 0.0] + 4.0) * RANDOM.gamma(5.0, 0.2, 240)
    net = gt.DNNRegressor(loss=loss, power=power, solver="lbfgs", **LINEAR)
    ours = net.fit(X, y).predict(X)
    theirs = TweedieRegressor(power=power, alpha=0.0, link="log", max_iter=1000).fit(X, y)
    np.testing.assert_allclose(ours, theirs.predict(X), rtol=0.02)


def test_gaussian_heads_reach_the_highest_likelihood():
    net = gt.DNNRegressor(loss=GaussianLikelihood(), learning_rate=0.05, epochs=2500, **LINEAR)
    net.fit(X, Y)
    inputs = np.column_stack([(X - X.mean(0)) / X.std(0), np.ones(240)])
    targets = (Y - Y.mean()) / Y.std()

    def loss(w):
        variance = np.logaddexp(0, inputs @ w[4:]) + 1e-6
        return (np.log(variance) + (targets - inputs @ w[:4])**2 / variance).mean() / 2
    best = minimize(loss, np.full(8, 0.1))
    assert net.history_[-1]["loss"] == pytest.approx(best.fun, abs=1e-4)
    mean, deviation = net.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, net.predict(X))
    np.testing.assert_allclose(mean, inputs @ best.x[:4] * Y.std() + Y.mean(), rtol=1e-3)
    np.testing.assert_allclose(
        deviation, np.sqrt(np.logaddexp(0, inputs @ best.x[4:])) * Y.std(), rtol=1e-2)
    low, high = net.predict_interval(X, coverage=0.8).T
    assert abs(np.mean((low <= Y) & (Y <= high)) - 0.8) < 0.08


def test_the_spread_of_an_ensemble_is_in_its_deviation():
    net = gt.DNNRegressor(loss="gaussian", n_ensemble=3, **FEW).fit(X, Y)
    far = 10 * X
    mean, deviation = net.predict(far, return_std=True)
    parts = []
    for member in net._fitted.members:
        alone = copy.copy(net)
        alone._fitted = copy.copy(member)
        alone._fitted.others = []
        parts.append(alone.predict(far, return_std=True))
    means, deviations = np.swapaxes(parts, 0, 1)
    np.testing.assert_allclose(mean, means.mean(0))
    np.testing.assert_allclose(deviation**2, (deviations**2).mean(0) + means.var(0))


@pytest.mark.parametrize("loss, power, targets, text", [
    ("poisson", 1.5, Y - 1000, "the Poisson loss takes counts from 0 on"),
    ("tweedie", 1.5, Y - 1000, "the Tweedie loss of power 1.5 takes numbers from 0 on"),
    ("tweedie", 2.0, np.maximum(Y - 500, 0), "the Tweedie loss of power 2 takes numbers above 0")])
def test_targets_a_head_cannot_have(loss, power, targets, text):
    with pytest.raises(DataError, match=text):
        gt.DNNRegressor(loss=loss, power=power, **FEW).fit(X, targets)


# ---- calibration of classifiers ----------------------------------------------------------------

def calibration_error(labels, proba, bins=10):
    """Expected calibration error (Naeini et al. 2015)."""
    sure, right = proba.max(axis=1), proba.argmax(axis=1) == labels
    bin_of = np.minimum((sure * bins).astype(int), bins - 1)
    return sum(abs(right[bin_of == b].mean() - sure[bin_of == b].mean()) * np.mean(bin_of == b)
               for b in np.unique(bin_of))


@pytest.mark.parametrize("n_ensemble", [1, 2])
def test_a_temperature_calibrates_an_overfitted_net(n_ensemble, tmp_path):
    random = np.random.default_rng(2)
    rows = random.normal(size=(1250, 8))
    labels = (rows[:, 0] + random.normal(size=1250) > 0).astype(int)
    options = {"hidden_layer_sizes": (64,), "epochs": 300, "validation_fraction": 0.4,
               "random_state": 0, "n_ensemble": n_ensemble, "alpha": 0.0}
    net = gt.DNNClassifier(calibration="temperature", **options).fit(rows[:250], labels[:250])
    tests, truth = rows[250:], labels[250:]
    after, temperature = net.predict_proba(tests), net.temperature_
    loaded = through_a_file(net, tmp_path)
    assert type(loaded.temperature_) is float
    np.testing.assert_array_equal(loaded.predict_proba(tests), after)
    np.testing.assert_allclose(np.exp(net.predict_log_proba(tests)), after)
    np.testing.assert_allclose(after.sum(axis=1), 1.0)
    scores = net.decision_function(tests)
    np.testing.assert_allclose(scores, np.log(after[:, 1] / after[:, 0]), atol=1e-9)
    np.testing.assert_array_equal(net.predict(tests), after.argmax(axis=1))
    net.temperature_ = 1.0
    before = net.predict_proba(tests)
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    assert temperature > 1.5
    assert calibration_error(truth, after) < 0.5 * calibration_error(truth, before)
    assert gt.DNNClassifier(**options).fit(rows[:100], labels[:100]).temperature_ == 1.0


def test_the_best_temperature_is_found():
    logits = RANDOM.normal(size=(4000, 3)) * 2
    logs = tempered(logits, 1.0 + 1e-12)
    draws = RANDOM.uniform(size=(4000, 1))
    labels = (draws > np.exp(tempered(logs, 3.0)).cumsum(axis=1)).sum(axis=1)
    found = best_temperature(logs, labels)
    assert found == pytest.approx(3.0, rel=0.1)

    def loss(t):
        return -tempered(logs, t)[np.arange(4000), labels].mean()
    assert loss(found) < min(loss(found * 1.02), loss(found / 1.02))
    assert best_temperature(np.log([[1.0, 1e-300]] * 3), np.zeros(3, int)) < 0.06


def test_label_smoothing_lowers_confidence():
    plain, smooth = (gt.DNNClassifier(label_smoothing=s, epochs=200, random_state=0,
                                      hidden_layer_sizes=(16,)).fit(X, LABELS).predict_proba(X)
                     for s in (0.0, 0.3))
    assert smooth.max(axis=1).mean() < plain.max(axis=1).mean() - 0.05
    net = gt.DNNClassifier(label_smoothing=0.1, loss=lambda y, p: p[:, 0], **FEW)
    with pytest.raises(ParameterError, match="label_smoothing goes with cross-entropies by name"):
        net.fit(X, LABELS)


@pytest.mark.parametrize("n_ensemble", [1, 2])
def test_several_labels_are_smoothed_and_calibrated(n_ensemble, tmp_path):
    random = np.random.default_rng(3)
    rows = random.normal(size=(1250, 8))
    answers = (rows[:, :3] + random.normal(size=(1250, 3)) > 0).astype(int)
    options = {"hidden_layer_sizes": (64,), "epochs": 200, "random_state": 0,
               "n_ensemble": n_ensemble, "alpha": 0.0}
    net = gt.DNNClassifier(calibration="temperature", validation_fraction=0.4, **options)
    tests, truth = rows[250:], answers[250:]
    after = net.fit(rows[:250], answers[:250]).predict_proba(tests)
    np.testing.assert_array_equal(through_a_file(net, tmp_path).predict_proba(tests), after)
    np.testing.assert_allclose(np.exp(net.predict_log_proba(tests)), after)
    np.testing.assert_allclose(net.decision_function(tests), np.log(after / (1 - after)))
    np.testing.assert_array_equal(net.predict(tests), after > 0.5)

    def loss(p):
        return -np.mean(np.log(np.where(truth, p, 1 - p)))
    assert net.temperature_ > 1.5
    net.temperature_ = 1.0
    assert loss(after) < loss(net.predict_proba(tests)) - 0.1
    smooth, plain = (gt.DNNClassifier(label_smoothing=s, **options).fit(rows[:250], answers[:250])
                     .predict_proba(tests) for s in (0.3, 0.0))
    assert np.abs(smooth - 0.5).mean() < np.abs(plain - 0.5).mean() - 0.05


# ---- ensembles ---------------------------------------------------------------------------------

def test_an_ensemble_is_the_mean_of_nets_and_the_first_is_the_single_one():
    one = gt.DNNRegressor(**FEW).fit(X, Y)
    three = gt.DNNRegressor(n_ensemble=3, **FEW).fit(X, Y)
    first, *others = [m.live(three).predict(X, three._in_units)[:, 0]
                      for m in three._fitted.members]
    np.testing.assert_array_equal(first, one.predict(X))
    np.testing.assert_allclose(three.predict(X), np.mean([first, *others], axis=0))
    assert np.std(first - others[0]) > 0 and three.history_ == one.history_


def test_ensembles_go_on_and_come_back(tmp_path):
    net = gt.DNNClassifier(n_ensemble=2, **FEW).partial_fit(X, LABELS)
    copied = pickle.loads(pickle.dumps(net))
    for model in (net, copied):
        model.partial_fit(X[:50], LABELS[:50])
    np.testing.assert_array_equal(net.predict_proba(X), copied.predict_proba(X))
    loaded = through_a_file(net, tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    loaded.save(tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "model.h5").read_bytes()


@pytest.mark.parametrize("change", [
    lambda m, a: m["net"].update(others=3), lambda m, a: m["net"]["others"].append({}),
    lambda m, a: m["net"]["others"][0].update(others=[]), lambda m, a: m["net"].pop("others"),
    lambda m, a: m["fitted"].update(temperature_=-1.0)])
def test_hostile_ensembles_are_refused(change, tmp_path):
    gt.DNNClassifier(n_ensemble=2, **FEW).fit(X, LABELS).save(tmp_path / "model.h5")
    manifest, arrays = read_model(tmp_path / "model.h5")
    change(manifest, arrays)
    write_model(tmp_path / "model.h5", manifest, arrays)
    with pytest.raises(CorruptFileError):
        gt.load(tmp_path / "model.h5")


def test_an_interrupted_ensemble_keeps_the_trained_nets():
    calls = []

    def stop(run):
        calls.append(run.epoch)
        if len(calls) == 8:
            raise KeyboardInterrupt
    from gradatim.training import FunctionCallback
    net = gt.DNNRegressor(n_ensemble=4, callbacks=FunctionCallback(stop), **FEW).fit(X, Y)
    assert len(calls) == 8 and len(net._fitted.members) == 2
    assert np.isfinite(net.predict(X)).all()


def test_ensembles_of_forecasters(tmp_path):
    series = np.sin(np.arange(80) / 3)
    net = gt.RNNForecaster(horizon=3, lookback=6, units=3, epochs=2, n_ensemble=2, random_state=0)
    forecast = net.fit(series).predict()
    np.testing.assert_array_equal(through_a_file(net, tmp_path).predict(), forecast)
    first = copy.copy(net)
    first._fitted = copy.copy(net._fitted)
    first._fitted.others = []
    assert np.abs(first.predict() - forecast).max() > 0


# ---- balanced sampling -------------------------------------------------------------------------

def test_balanced_epochs_draw_every_class_equally_often():
    labels = np.repeat([0, 1, 2], [80, 15, 5])
    epochs = [balanced_order(labels, 7, epoch) for epoch in range(3)]
    for rows in epochs:
        counts = np.bincount(labels[rows])
        assert len(rows) == 100 and counts.max() - counts.min() <= 1
        assert len(set(rows[labels[rows] == 2])) == 5                   # every rare row
    seen = np.concatenate([rows[labels[rows] == 0] for rows in epochs[:2]])
    assert len(set(seen)) >= len(seen) - 1                              # no row again before others
    np.testing.assert_array_equal(epochs[1], balanced_order(labels, 7, 1))
    sequences = Source([np.zeros((1 + i % 3, 1)) for i in range(100)], labels, batch_size=10,
                       balanced=True)
    assert len(list(sequences.epoch(1))) == sequences.steps_per_epoch == 10
    with pytest.raises(ParameterError, match="a balanced epoch draws samples at random"):
        Source(np.zeros((100, 1)), labels, batch_size=None, balanced=True)


def test_balanced_sampling_finds_the_rare_class():
    recall = [np.mean(gt.DNNClassifier(sampling=sampling, solver="mini_batch", batch_size=32,
                                       epochs=60, hidden_layer_sizes=(), random_state=0)
                      .fit(X, LABELS).predict(X)[LABELS == 1]) for sampling in (None, "balanced")]
    assert recall[1] > recall[0] + 0.05


def test_full_batches_weigh_the_classes_instead():
    sampled = gt.DNNClassifier(sampling="balanced", **FEW).fit(X, LABELS)
    weighed = gt.DNNClassifier(class_weight="balanced", **FEW).fit(X, LABELS)
    np.testing.assert_array_equal(sampled.predict_proba(X), weighed.predict_proba(X))


def test_weights_of_classes_beside_balanced_sampling():
    weights = {0: 9.0, 1: 1.0}
    linear = {"hidden_layer_sizes": (), "alpha": 0.0, "epochs": 100, "random_state": 0}
    even, uneven = (gt.DNNClassifier(sampling="balanced", class_weight=w, **linear).fit(X, LABELS)
                    for w in (None, weights))
    assert uneven.predict(X).sum() < even.predict(X).sum() - 10
    counts = np.bincount(LABELS)
    weighed = gt.DNNClassifier(class_weight={c: weights[c] / counts[c] for c in weights},
                               **linear).fit(X, LABELS)
    np.testing.assert_allclose(uneven.predict_proba(X), weighed.predict_proba(X), atol=1e-6)
    with pytest.raises(ParameterError, match="sampling cannot be used with several labels"):
        gt.DNNClassifier(sampling="balanced").fit(X, np.stack([LABELS, 1 - LABELS], axis=1))


def test_balanced_epochs_of_a_file_are_those_of_memory():
    rows, labels = np.arange(300.0).reshape(100, 3), np.repeat([0, 1], [90, 10])
    memory, disk = (list(Source(X, labels, batch_size=8, seed=5, balanced=True).epoch(2, start=3))
                    for X in (rows, OnDisk(rows)))
    assert len(memory) == len(disk) == 10
    for one, other in zip(memory, disk):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.y, other.y)


# ---- importances -------------------------------------------------------------------------------

def test_importances_are_of_the_columns_that_matter(tmp_path):
    net = gt.DNNRegressor(hidden_layer_sizes=(8,), epochs=100, random_state=0).fit(X, Y)
    found = net.permutation_importances(X, Y, n_repeats=3)
    assert found.importances.shape == (3, 3) and found.importances_mean.argmax() == 1
    np.testing.assert_array_equal(net.feature_importances_, found.importances_mean)
    chosen = SelectFromModel(net, prefit=True, max_features=1)
    np.testing.assert_array_equal(chosen.transform(X), X[:, 1:2])
    net.save(tmp_path / "net.h5")
    np.testing.assert_array_equal(gt.load(tmp_path / "net.h5").feature_importances_,
                                  net.feature_importances_)
    assert not hasattr(net.partial_fit(X, Y), "feature_importances_")
    images = RANDOM.normal(size=(10, 4, 4))
    cnn = gt.CNNRegressor(epochs=1).fit(images, Y[:10])
    with pytest.raises(ShapeError, match="only columns can be shuffled"):
        cnn.permutation_importances(images, Y[:10])
