"""The estimators inside scikit-learn's pipelines, searches, ensembles, inspection and callbacks."""
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.metrics import log_loss
from sklearn.model_selection import (GridSearchCV, HalvingGridSearchCV, KFold, RandomizedSearchCV,
                                     TimeSeriesSplit, cross_val_score)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import gradatim as gt
from gradatim.backend.distribute import DataParallel
from gradatim.backend.errors import NonFiniteError
from gradatim.training import EarlyStopping

draws = np.random.default_rng(0)
X = draws.normal(size=(80, 4))
LABELS = np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")
NUMBERS = 3 * X[:, 0] - X[:, 2]
MANY, ANSWERS = make_multilabel_classification(80, 6, n_classes=3, random_state=0)
FAST = {"epochs": 150, "learning_rate": 0.05, "random_state": 0}
SMALL = {"hidden_layer_sizes": (8,), **FAST}
CLASSES = np.digitize(X[:, 0] + X[:, 1], [-0.7, 0.7])
CLASSIFIERS = {"dnn": gt.DNNClassifier(**SMALL),
               "cnn": gt.CNNClassifier(image_shape=(2, 2), **FAST),
               "rnn": gt.RNNClassifier(units=8, **FAST)}
REGRESSORS = {"line": gt.LinearRegressor(), "dnn": gt.DNNRegressor(**SMALL),
              "cnn": gt.CNNRegressor(image_shape=(2, 2), **FAST),
              "rnn": gt.RNNRegressor(units=8, **FAST)}
every_classifier = pytest.mark.parametrize("net", CLASSIFIERS.values(), ids=CLASSIFIERS)
every_regressor = pytest.mark.parametrize("net", REGRESSORS.values(), ids=REGRESSORS)


def classifier(**changes):
    return gt.DNNClassifier(**(SMALL | changes))


def regressor(**changes):
    return gt.DNNRegressor(**(SMALL | changes))


def frame():
    """A table of numbers and categories, and labels that need both."""
    table = pd.DataFrame({"size": X[:, 0], "weight": 100 * X[:, 1],
                          "colour": np.where(X[:, 2] > 0, "red", "blue")})
    return table, np.where(X[:, 2] + X[:, 0] > 0, "ripe", "raw")


@every_classifier
def test_column_transformer_on_a_mixed_frame(net):
    table, labels = frame()
    parts = ColumnTransformer([("numbers", StandardScaler(), ["size", "weight"]),
                               ("names", OneHotEncoder(), ["colour"])])
    model = make_pipeline(parts, clone(net)).fit(table, labels)
    assert model.score(table, labels) > 0.8
    assert list(model.classes_) == ["raw", "ripe"]
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.predict_proba(table[::-1]), model.predict_proba(table)[::-1])


GRID = {"learning_rate": [1e-5, 0.05], "alpha": [0.0, 1e-3]}
SEARCHES = {
    "grid": lambda net: GridSearchCV(net, GRID, cv=2, n_jobs=2),
    "random": lambda net: RandomizedSearchCV(net, GRID, n_iter=2, cv=2, n_jobs=2, random_state=0),
    "halving": lambda net: HalvingGridSearchCV(net, GRID, cv=2, n_jobs=2, random_state=0),
}


@every_classifier
@pytest.mark.parametrize("name", SEARCHES)
def test_searches_in_two_processes(name, net):
    search = SEARCHES[name](net).fit(X, LABELS)
    assert search.best_score_ > 0.8 and search.best_params_["learning_rate"] == 0.05
    alone = SEARCHES[name](net).set_params(n_jobs=1).fit(X, LABELS)
    assert np.array_equal(search.cv_results_["mean_test_score"],
                          alone.cv_results_["mean_test_score"])


STEPS = [draws.normal(size=(3 + i % 3, 2)) for i in range(24)]
TAGS = [(steps[:, 0] > 0).astype(int) for steps in STEPS]
FEW = {"epochs": 20, "random_state": 0}
NO_ROWS = {
    "series": (gt.RNNForecaster(horizon=2, lookback=3, units=3, **FEW), X, None,
               TimeSeriesSplit(2)),
    "series and targets": (gt.RNNForecaster(horizon=2, lookback=3, units=3, **FEW), X, NUMBERS,
                           TimeSeriesSplit(2)),
    "steps": (gt.RNNTagger(units=3, **FEW), STEPS, TAGS, KFold(2)),
    "codes": (gt.Autoencoder(hidden_layer_sizes=(2,), **FEW), X, None, 2),
    "text": (gt.TextGenerator(units=3, **FEW), ["some text", "and more of it"] * 4, None, 2),
}


@pytest.mark.parametrize("name", NO_ROWS)
def test_searches_where_nothing_is_predicted_of_a_row(name):
    net, samples, targets, parts = NO_ROWS[name]
    search = GridSearchCV(net, {"learning_rate": [1e-6, 0.02]}, cv=parts, error_score="raise")
    assert search.fit(samples, targets).best_params_ == {"learning_rate": 0.02}
    scores = cross_val_score(search.best_estimator_, samples, targets, cv=parts)
    assert scores.mean() == search.best_score_


@every_regressor
def test_cross_validation_of_numbers(net):
    assert (cross_val_score(net, X, NUMBERS, cv=3) > 0.6).all()


def test_clone_keeps_every_parameter():
    stop = EarlyStopping(patience=2)
    changes = {"callbacks": [stop], "strategy": DataParallel(2), "optimizer": "sgd",
               "schedule": "constant", "hidden_layer_sizes": [3], "max_time": "1m",
               "early_stopping": True, "backend": "reference", "class_weight": {"yes": 2.0}}
    net = gt.DNNClassifier(**changes)
    copy, other = clone(net), clone(net).set_params(alpha=0.5)
    assert repr(copy.get_params()) == repr(net.get_params()) and other.alpha == 0.5
    assert all(repr(getattr(copy, k)) == repr(v) for k, v in changes.items())
    assert net.alpha == "auto" and not hasattr(copy, "_fitted")


WRAPPED = {
    "vote": lambda net: VotingClassifier([("a", net), ("b", clone(net).set_params(alpha=0))],
                                         voting="soft"),
    "bag": lambda net: BaggingClassifier(net, n_estimators=2, random_state=0),
    "stack": lambda net: StackingClassifier([("net", net)], cv=2),
    "calibrated": lambda net: CalibratedClassifierCV(net, cv=2),
    "by decision": lambda net: CalibratedClassifierCV(net, cv=2, method="isotonic"),
    "one against the rest": OneVsRestClassifier,
    "one against one": OneVsOneClassifier,
}


@every_classifier
@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("y", [LABELS, CLASSES], ids=["two", "three"])
def test_ensembles_and_calibration(name, net, y):
    model = WRAPPED[name](net).fit(X, y)
    assert model.score(X, y) > 0.8
    if hasattr(model, "predict_proba"):
        chances = model.predict_proba(X)
        assert np.allclose(chances.sum(axis=1), 1.0) and chances.shape == (80, len(np.unique(y)))


@every_regressor
def test_inspection_finds_the_features_that_count(net):
    net = clone(net).fit(X, NUMBERS)
    found = permutation_importance(net, X, NUMBERS, n_repeats=2, random_state=0)
    assert found.importances_mean.argmax() == 0
    assert found.importances_mean[[1, 3]].max() < found.importances_mean[2]
    line = partial_dependence(net, X, [0], grid_resolution=5)["average"][0]
    assert (np.diff(line) > 0).all()


@every_classifier
def test_inspection_of_classifiers(net):
    net = clone(net).fit(X, LABELS)
    both = partial_dependence(net, X, [0, 1], grid_resolution=3)
    assert both["average"].shape == (1, 3, 3)
    found = permutation_importance(net, X, LABELS, n_repeats=2, random_state=0)
    assert set(found.importances_mean.argsort()[2:]) == {0, 1}


@every_regressor
def test_transformed_targets(net):
    model = TransformedTargetRegressor(net, func=np.log, inverse_func=np.exp)
    assert model.fit(X, np.exp(NUMBERS / 3)).score(X, np.exp(NUMBERS / 3)) > 0.6


@every_regressor
def test_one_net_per_number(net):
    numbers = np.column_stack([NUMBERS, -NUMBERS])
    model = MultiOutputRegressor(net).fit(X, numbers)
    assert model.predict(X).shape == (80, 2) and model.score(X, numbers) > 0.7


@every_classifier
def test_one_net_per_label(net):
    words = np.column_stack([LABELS, np.where(X[:, 3] > 0, "up", "down")])
    found = MultiOutputClassifier(net).fit(X, words).predict(X)
    assert (found == words).mean() > 0.85


def test_a_chain_of_labels():
    chain = ClassifierChain(classifier(), random_state=0).fit(MANY, ANSWERS)
    assert chain.predict_proba(MANY).shape == (80, 3) and chain.score(MANY, ANSWERS) > 0.6


# ---- several labels per sample -----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("columns", [2, 3])
def test_several_labels_have_the_shapes_of_scikit_learn(columns):
    y = ANSWERS[:, :columns]
    net = classifier().fit(MANY, y)
    theirs = MLPClassifier((8,), max_iter=300, solver="lbfgs", random_state=0).fit(MANY, y)
    for ours, other in ((net.predict(MANY), theirs.predict(MANY)),
                        (net.predict_proba(MANY), theirs.predict_proba(MANY))):
        assert ours.shape == other.shape and ours.dtype == other.dtype
    assert np.array_equal(net.classes_, theirs.classes_)
    scores, chances = net.decision_function(MANY), net.predict_proba(MANY)
    assert np.allclose(chances, 1 / (1 + np.exp(-scores)), atol=1e-12)
    assert np.allclose(net.predict_log_proba(MANY), np.log(chances), atol=1e-9)
    assert np.array_equal(net.predict(MANY), scores > 0)
    assert net.score(MANY, y) > 0.6
    assert net.history_[-1]["accuracy"] == pytest.approx(net.score(MANY, y), abs=0.05)
    report = net.report(MANY, y)
    assert report.score == net.score(MANY, y) > report.baselines["most frequent class"]


def test_several_labels_survive_files_copies_and_refits(tmp_path):
    net = classifier(early_stopping=True).fit(MANY, ANSWERS)
    net.save(tmp_path / "net.h5")
    for copy in (gt.load(tmp_path / "net.h5"), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(copy.predict_proba(MANY), net.predict_proba(MANY))
        assert np.array_equal(copy.predict(MANY), net.predict(MANY))
    assert net.partial_fit(MANY, ANSWERS).predict(MANY).shape == (80, 3)
    assert net.fit(X, LABELS).predict_proba(X).shape == (80, 2)      # one label each again
    assert set(net.predict(X)) == {"yes", "no"}


def test_several_labels_what_is_refused():
    net = classifier().fit(MANY, ANSWERS)
    with pytest.raises(ValueError, match="y must hold a zero or a one per sample and class"):
        net.partial_fit(MANY, ANSWERS[:, :2])
    with pytest.raises(ValueError, match="class_weight cannot be used with several labels"):
        classifier(class_weight="balanced").fit(MANY, ANSWERS)
    with pytest.raises(ValueError, match="y must hold a zero or a one per sample and class"):
        classifier().fit(MANY, ANSWERS + 1)
    with pytest.raises(ValueError, match="y should be a 1d array"):
        classifier().fit(MANY, np.where(ANSWERS, "yes", "no"))


def test_one_class():
    net = classifier().fit(X, np.repeat("only", 80))
    assert set(net.predict(X)) == {"only"}
    assert np.array_equal(net.predict_proba(X), np.ones((80, 1)))


def test_several_numbers():
    numbers = np.column_stack([NUMBERS, 100 - NUMBERS])
    net = regressor(epochs=150).fit(X, numbers)
    assert net.predict(X).shape == (80, 2) and net.score(X, numbers) > 0.8


# ---- validation data through a pipeline --------------------------------------------------------


@every_classifier
def test_validation_data_pass_the_steps_before(net):
    far, near = 1000 + 50 * X[:60], 1000 + 50 * X[60:]
    with sklearn.config_context(enable_metadata_routing=True):
        net = clone(net).set_params(epochs=5).set_fit_request(X_val=True, y_val=True)
        model = Pipeline([("scale", StandardScaler()), ("net", net)], transform_input=["X_val"])
        model.fit(far, LABELS[:60], X_val=near, y_val=LABELS[60:])
    scale = model.named_steps["scale"]
    plain = clone(net).fit(
        scale.transform(far), LABELS[:60], X_val=scale.transform(near), y_val=LABELS[60:])
    assert model.named_steps["net"].history_ == plain.history_
    assert plain.history_[-1]["val_accuracy"] == pytest.approx(model.score(near, LABELS[60:]))


# ---- scikit-learn's callbacks ------------------------------------------------------------------

try:
    from sklearn.callback import ProgressBar, ScoringMonitor
except ImportError:
    ScoringMonitor = None
needs_callbacks = pytest.mark.skipif(ScoringMonitor is None, reason="scikit-learn before 1.9")


class Recorder:
    """Writes down the hooks; ends training after so many epochs."""

    def __init__(self, stop_after=None):
        self.told, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(("begin", context.task_name, context.task_id, context.max_subtasks))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, metadata=None):
        self.told.append(("end", context.task_name, context.task_id, context.max_subtasks))
        self.weights, self.last = metadata, fitted_estimator
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after


@needs_callbacks
@every_classifier
def test_a_task_for_the_fit_and_one_for_each_epoch(net):
    recorder = Recorder()
    net = clone(net).set_params(epochs=2).set_callbacks(recorder).fit(X, LABELS, np.ones(80))
    epochs = [(hook, "epoch", i, 0) for i in range(2) for hook in ("begin", "end")]
    assert recorder.told == ["setup", ("begin", "fit", 0, 2), *epochs, ("end", "fit", 0, 2),
                             "teardown"]
    assert list(recorder.weights) == ["sample_weight"]
    assert np.array_equal(recorder.last.predict_proba(X), net.predict_proba(X))
    assert clone(net)._skl_callbacks == [recorder]
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(net))


@needs_callbacks
def test_a_hook_ends_training_and_a_failing_fit_tears_down():
    recorder = Recorder(stop_after=2)
    assert classifier().set_callbacks(recorder).fit(X, LABELS).n_epochs_ == 2
    recorder = Recorder()
    net = regressor(learning_rate=1e200, optimizer="sgd").set_callbacks(recorder)
    with pytest.raises(NonFiniteError, match="diverged"):
        net.fit(X, NUMBERS)
    assert recorder.told[-1] == "teardown"


@needs_callbacks
def test_scores_of_every_epoch():
    monitor = ScoringMonitor(scoring="neg_mean_squared_error")
    net = regressor(epochs=3, schedule="constant").set_callbacks(monitor).fit(X, NUMBERS)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    for epochs, row in enumerate(rows, 1):
        alone = regressor(epochs=epochs, schedule="constant").fit(X, NUMBERS)
        assert row["neg_mean_squared_error"] == -np.mean((alone.predict(X) - NUMBERS) ** 2)
    assert len(rows) == net.n_epochs_ == 3


@needs_callbacks
@pytest.mark.parametrize("calibration", [None, "temperature"])
def test_a_classifier_is_scored_after_every_epoch(calibration):
    monitor = ScoringMonitor(scoring="neg_log_loss")
    net = classifier(epochs=3, calibration=calibration).set_callbacks(monitor).fit(X, LABELS)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 3 and all(row["neg_log_loss"] < 0 for row in rows)
    assert (net.temperature_ == 1.0) == (calibration is None)


@needs_callbacks
def test_every_net_of_an_ensemble_has_its_epochs():
    monitor, recorder = ScoringMonitor(scoring="neg_log_loss"), Recorder()
    net = classifier(epochs=3, schedule="constant", n_ensemble=2)
    net.set_callbacks(monitor, recorder).fit(X, LABELS)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    alone = [classifier(epochs=3, schedule="constant", n_ensemble=n).fit(X, LABELS)
             for n in (1, 2)]
    assert [rows[i]["neg_log_loss"] for i in (2, 5)] == [
        -log_loss(LABELS, n.predict_proba(X)) for n in alone]
    assert [told[1:] for told in recorder.told if told[0] == "begin"] == [
        ("fit", 0, 6), *(("epoch", i, 0) for i in range(6))]
    warm = net.set_params(warm_start=True)._skl_callbacks
    assert warm == [monitor, recorder] and net.fit(X, LABELS).n_epochs_ == 6


@needs_callbacks
def test_callbacks_through_pipelines_and_searches(capsys):
    pytest.importorskip("rich")
    model = make_pipeline(StandardScaler(), classifier(epochs=2))
    GridSearchCV(model, {"dnnclassifier__alpha": [0, 1]}, cv=2).set_callbacks(
        ProgressBar(max_propagation_depth=None)).fit(X, LABELS)
    assert "DNNClassifier" in capsys.readouterr().out
