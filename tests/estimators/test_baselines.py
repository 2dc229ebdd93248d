"""Baselines, and reports with the naive baseline beside the score."""
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

import gradatim as gt

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 3))
LABELS = np.where(X[:, 0] > 0.5, "rare", "usual")
NUMBERS = X @ [1.0, -2.0, 0.5] + 3.0
FEW = {"epochs": 30, "random_state": 0}


@parametrize_with_checks([gt.BaselineClassifier(), gt.BaselineRegressor(),
                          gt.BaselineRegressor(strategy="median")])
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("strategy", ["prior", "most_frequent"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_classifier_against_scikit_learns(strategy, weighted):
    weights = RANDOM.uniform(size=60) if weighted else None
    ours = gt.BaselineClassifier(strategy=strategy).fit(X, LABELS, weights)
    theirs = DummyClassifier(strategy=strategy).fit(X, LABELS, weights)
    np.testing.assert_array_equal(ours.predict(X[:5]), theirs.predict(X[:5]))
    np.testing.assert_allclose(ours.predict_proba(X[:5]), theirs.predict_proba(X[:5]), rtol=1e-12)
    np.testing.assert_allclose(np.exp(ours.predict_log_proba(X[:5])), ours.predict_proba(X[:5]))


@pytest.mark.parametrize("strategy", ["mean", "median"])
@pytest.mark.parametrize("targets", [NUMBERS, X[:, :2]], ids=["one", "two"])
def test_the_regressor_against_scikit_learns(strategy, targets):
    ours = gt.BaselineRegressor(strategy=strategy).fit(X, targets)
    theirs = DummyRegressor(strategy=strategy).fit(X, targets)
    np.testing.assert_allclose(ours.predict(X[:5]), theirs.predict(X[:5]), rtol=1e-12)
    weights = np.arange(60) % 3
    repeated = gt.BaselineRegressor(strategy=strategy).fit(np.repeat(X, weights, axis=0),
                                                           np.repeat(targets, weights, axis=0))
    np.testing.assert_allclose(ours.fit(X, targets, weights).constant_, repeated.constant_)


@pytest.mark.parametrize("model", [
    gt.BaselineClassifier().fit(X, LABELS), gt.BaselineRegressor().fit(X, NUMBERS),
    gt.BaselineRegressor(strategy="median").fit(X, X)], ids=repr)
def test_files(model, tmp_path):
    model.save(tmp_path / "model.h5")
    loaded = gt.load(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert vars(clone(loaded)) == vars(clone(model))


def test_samples_may_be_of_any_kind():
    lists = [np.zeros((k, 2)) for k in (3, 4)]
    assert gt.BaselineClassifier().fit(lists, ["a", "a"]).predict(lists).tolist() == ["a", "a"]


# ---- reports -----------------------------------------------------------------------------------

def test_a_classifiers_report():
    model = gt.DNNClassifier(**FEW, class_weight="balanced").fit(X, LABELS)
    report = model.report(X, LABELS)
    naive = gt.BaselineClassifier().fit(X, LABELS)
    assert report.score == model.score(X, LABELS)
    assert report.baselines == {"most frequent class": naive.score(X, LABELS)}
    np.testing.assert_allclose(model.baseline_, naive.class_prior_)
    unseen = np.where(np.arange(60) < 30, "new", LABELS)
    assert model.report(X, unseen).baselines["most frequent class"] == naive.score(X, unseen)


def test_a_weighted_report():
    weights = np.where(LABELS == "rare", 9.0, 1.0)
    model = gt.LinearClassifier(**FEW).fit(X, LABELS, weights)
    naive = gt.BaselineClassifier().fit(X, LABELS, weights)
    report = model.report(X, LABELS, sample_weight=weights)
    assert report.baselines["most frequent class"] == pytest.approx(
        naive.score(X, LABELS, weights))


@pytest.mark.parametrize("model", [gt.DNNRegressor(**FEW), gt.LinearRegressor(),
                                   gt.LinearRegressor(fit_intercept=False)], ids=repr)
@pytest.mark.parametrize("targets", [NUMBERS, X[:, :2] + 1], ids=["one", "two"])
def test_a_regressors_report(model, targets):
    half = slice(30)
    report = clone(model).fit(X[half], targets[half]).report(X[30:], targets[30:])
    naive = gt.BaselineRegressor().fit(X[half], targets[half])
    if not model.get_params().get("fit_intercept", True):
        naive.constant_ = 0.0 * naive.constant_
    assert report.baselines["mean"] == pytest.approx(naive.score(X[30:], targets[30:]))


def test_a_language_models_report():
    model = gt.TextGenerator(units=6, epochs=40, sequence_length=8, random_state=0)
    report = model.fit("the cat sat. " * 40).report("the cat sat. " * 3)
    assert report.score > report.baselines["frequencies of tokens"] + 0.3
    assert report.baselines["frequencies of tokens"] == pytest.approx(-2.0, abs=0.1)


@pytest.mark.parametrize("model, targets, text", [
    (gt.LinearClassifier(epochs=3, random_state=0), LABELS, "(most frequent class: 0.70)"),
    (gt.DNNRegressor(epochs=3, random_state=0), NUMBERS, "(mean: 0.00)")])
def test_a_fit_tells_what_it_reached_beside_the_baseline(model, targets, text, capsys):
    model = clone(model).set_params(verbose=1).fit(X, targets)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(("training accuracy 0.", "training R² ")) and line.endswith(text)
    model.set_params(verbose=0).fit(X, targets)
    assert not capsys.readouterr().err
    model.set_params(verbose=1).fit(X, targets, X_val=X[:9], y_val=targets[:9])
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("validation ")
