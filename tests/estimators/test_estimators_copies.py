"""Nets as estimators: seeds, copies, failures, interrupts, threads, scikit-learn around them."""
import copy
import pickle
import threading

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import Error, NonFiniteError
from gradatim.training import Adam, CSVLogger, FunctionCallback

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 4))
LABELS = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(int)
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0] + 3.0
IMAGES = RANDOM.normal(size=(40, 5, 5))
LISTS = [RANDOM.normal(size=(9 + k % 5, 2)) for k in range(40)]

# Every net of arrays: samples, targets, and parameters that keep it small.
NETS = {
    "linear": (gt.LinearClassifier, X, LABELS, {}),
    "dnn": (gt.DNNClassifier, X, LABELS, {"hidden_layer_sizes": (8,)}),
    "dnn_regressor": (gt.DNNRegressor, X, NUMBERS, {"hidden_layer_sizes": (8,)}),
    "cnn": (gt.CNNClassifier, X, LABELS, {}),
    "cnn_regressor": (gt.CNNRegressor, X, NUMBERS, {}),
    "rnn": (gt.RNNClassifier, X, LABELS, {"units": 4}),
    "rnn_regressor": (gt.RNNRegressor, X, NUMBERS, {"units": 4}),
    "images": (gt.CNNClassifier, IMAGES, LABELS, {"architecture": "lenet"}),
    "lists": (gt.RNNClassifier, LISTS, LABELS, {"units": 4}),
}
every_net = pytest.mark.parametrize("name", NETS)


def make(name, **parameters):
    """A small net of that name, and its data."""
    cls, samples, targets, small = NETS[name]
    return cls(**{"epochs": 4, "random_state": 0, **small, **parameters}), samples, targets


def fitted(name, **parameters):
    net, samples, targets = make(name, **parameters)
    return net.fit(samples, targets)


def take(samples, rows):
    return [samples[i] for i in rows] if isinstance(samples, list) else samples[rows]


def answers(net, samples):
    """Probabilities or numbers."""
    return net.predict_proba(samples) if hasattr(net, "predict_proba") else net.predict(samples)


def weights(net):
    return {path: v.numpy() for path, v in net.network_.variables().items()}


def same_weights(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one).values(),
                                                    weights(other).values(), strict=True))


# ---- seeds and copies --------------------------------------------------------------------------

@every_net
def test_seeds(name):
    assert same_weights(fitted(name), fitted(name))
    assert not same_weights(fitted(name), fitted(name, random_state=1, epochs=1)) or \
        name == "linear"


class Double(layers.Layer):
    """Twice the input: a layer gradatim does not know."""

    def call(self, x):
        return x * 2.0


def own_net(spec, n_outputs):
    """An architecture with a layer of its own."""
    return layers.Sequential([layers.Flatten(), Double(), layers.Dense(n_outputs)])


@pytest.mark.parametrize("name", [*NETS, "own"])
def test_copies_of_fitted_nets(name, tmp_path):
    net = fitted(name) if name != "own" else fitted("images", architecture=own_net)
    _, samples, targets = make("images" if name == "own" else name)
    joblib.dump(net, tmp_path / "net")
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net),
                  joblib.load(tmp_path / "net")):
        np.testing.assert_array_equal(answers(other, samples), answers(net, samples))
        assert other.history_ == net.history_
    other.partial_fit(samples, targets)                   # a copy of its own
    assert not same_weights(other, net)
    unfitted = clone(net)
    assert not hasattr(unfitted, "n_epochs_") and unfitted.get_params().keys() == \
        net.get_params().keys()


def test_parameters_are_stored_as_given():
    given = Adam(1e-2)
    net = gt.DNNClassifier(optimizer=given, hidden_layer_sizes=[3])
    assert net.optimizer is given and net.set_params(epochs=2).epochs == 2
    assert repr(gt.DNNClassifier(epochs=3)) == "DNNClassifier(epochs=3)"
    assert net.fit(X, LABELS)._rate(True, None) == 1e-2
    with pytest.raises(ValueError, match="Invalid parameter"):
        net.set_params(layers=3)


# ---- failures ----------------------------------------------------------------------------------

def stop_at(epoch, error):
    def stop(run):
        if run.epoch == epoch:
            raise error
    return FunctionCallback(on_epoch_end=stop)


FAILURES = {
    "parameter": ({"alpha": -1.0}, None), "NaN": ({}, "nan"), "length": ({}, "short"),
    "callback": ({"callbacks": stop_at(1, RuntimeError("planned"))}, None),
    "divergence": ({"callbacks": FunctionCallback(on_epoch_end=lambda run: run.set_weights(
        {path: value * np.nan for path, value in run.weights().items()}))}, None),
    "no callback": ({"callbacks": [3]}, None), "precision": ({"precision": "tf32"}, None),
    "validation": ({}, "validation"), "loss": ({"loss": "no such loss"}, None),
    "file": ({"callbacks": CSVLogger("/no/such/folder/log.csv")}, None),
}


@every_net
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_refit_keeps_the_old_fit(name, warm_start, failure):
    net, samples, targets = fitted(name), *make(name)[1:]
    before, attributes = answers(net, samples), dict(vars(net))
    parameters, data = FAILURES[failure]
    changed = {"warm_start": warm_start, **parameters}
    validation = {}
    if data == "nan":
        samples = [np.full_like(s, np.nan) for s in samples]
        samples = samples if isinstance(NETS[name][1], list) else np.stack(samples)
    if data == "validation":
        validation = {"X_val": samples, "y_val": targets[:3]}
    with pytest.raises((Error, ValueError, RuntimeError)):
        net.set_params(**changed).fit(samples, targets[:7] if data == "short" else targets,
                                      **validation)
    original = {key: attributes[key] for key in changed}
    net.set_params(**original)
    assert vars(net).keys() == attributes.keys()
    assert all(vars(net)[key] is attributes[key] for key in attributes)
    np.testing.assert_array_equal(answers(net, NETS[name][1]), before)


def test_divergence_is_an_error():
    with pytest.raises(NonFiniteError, match="lower learning_rate"):
        fitted("dnn_regressor", learning_rate=1e300, optimizer="sgd", epochs=40)


@every_net
@pytest.mark.parametrize("epoch", [0, 2])
def test_an_interrupt_leaves_a_usable_net(name, epoch):
    net, samples, targets = make(name, epochs=10, callbacks=stop_at(epoch, KeyboardInterrupt()))
    net.fit(samples, targets)
    assert net.n_epochs_ == epoch + 1 == len(net.history_) and net.best_epoch_ == epoch
    assert np.isfinite(answers(net, samples)).all()


def test_an_interrupt_in_the_first_epoch():
    class Impatient(layers.Layer):
        def forward(self, flow, training):
            if training:
                raise KeyboardInterrupt
            return flow

    net = gt.CNNClassifier(epochs=3, architecture=lambda spec, n: layers.Sequential(
        [layers.Flatten(), Impatient(), layers.Dense(n)]))
    net.fit(IMAGES, LABELS)
    assert (net.n_epochs_, net.best_epoch_, net.history_) == (0, 0, [])
    assert net.predict(IMAGES).shape == (40,)


# ---- around ------------------------------------------------------------------------------------

def test_callbacks_see_the_run(tmp_path):
    seen = []
    net, samples, targets = make("dnn", callbacks=[
        CSVLogger(tmp_path / "log.csv"), FunctionCallback(lambda run: seen.append(run.epoch))])
    net.fit(samples, targets)
    assert seen == [0, 1, 2, 3]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5


def test_the_bar(capsys):
    fitted("dnn", verbose=1)
    shown = capsys.readouterr()
    assert not shown.out and ("4/4" in shown.err or "100%" in shown.err)
    fitted("dnn")
    shown = capsys.readouterr()
    assert not shown.out and not shown.err


def test_pipelines_and_searches():
    net, samples, targets = make("dnn", epochs=40)
    pipeline = make_pipeline(StandardScaler(), net).fit(samples, targets)
    assert pipeline.score(samples, targets) > 0.7
    search = GridSearchCV(net, {"hidden_layer_sizes": [(2,), (8,)], "alpha": [0.0, 1e-3]}, cv=2)
    assert search.fit(samples, targets).best_score_ > 0.7
    assert len(cross_val_score(make("lists")[0], LISTS, LABELS, cv=2)) == 2


@every_net
def test_predictions_do_not_depend_on_neighbours(name):
    net = fitted(name)
    _, samples, _ = make(name)
    alone = np.concatenate([answers(net, take(samples, [i])) for i in range(40)])
    np.testing.assert_allclose(alone, answers(net, samples), rtol=0, atol=1e-7)


@every_net
def test_threads_may_predict_at_once(name):
    net = pickle.loads(pickle.dumps(fitted(name)))        # nothing is compiled yet
    _, samples, _ = make(name)
    found, start = [None] * 8, threading.Barrier(8)

    def work(k):
        start.wait()
        found[k] = [answers(net, take(samples, range(n))) for n in (3, 40, 3)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        for a, b in zip(one, found[0]):
            np.testing.assert_array_equal(a, b)
