"""Nets as estimators: what parameters, weights, labels, refits and copies mean."""
import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import gradatim as gt
from gradatim.backend.errors import Error
from gradatim.training import FunctionCallback

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
CLASSIFIERS = [name for name, (cls, *_) in NETS.items() if hasattr(cls, "predict_proba")]
REGRESSORS = [name for name in NETS if name not in CLASSIFIERS]
every_net = pytest.mark.parametrize("name", NETS)
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
every_regressor = pytest.mark.parametrize("name", REGRESSORS)


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


# ---- solver, precision, epochs -----------------------------------------------------------------

@pytest.mark.parametrize("solver, rows, dtype, steps", [
    ("auto", 256, "float64", 1), ("auto", 257, "float32", 3), ("full_batch", 257, "float64", 1),
    ("mini_batch", 256, "float32", 2)])
def test_solver_decides_precision_and_steps(solver, rows, dtype, steps):
    samples = np.random.default_rng(1).normal(size=(rows, 3))
    seen = []
    keep = FunctionCallback(
        on_epoch_end=lambda run: seen.append(int(run.trainer.keys.step.numpy())))
    net = gt.DNNRegressor(hidden_layer_sizes=(3,), solver=solver, epochs=2, callbacks=keep)
    net.fit(samples, samples[:, 0])
    assert {v.dtype.name for path, v in net.network_.variables().items()
            if "kernel" in path} == {dtype}
    assert seen == [steps, 2 * steps]


@every_net
def test_full_batches_do_not_depend_on_the_order_of_rows(name):
    net, samples, targets = make(name)
    order = np.random.default_rng(5).permutation(len(targets))
    other = clone(net).fit(take(samples, order), targets[order])
    np.testing.assert_allclose(answers(net.fit(samples, targets), samples),
                               answers(other, samples), rtol=0, atol=1e-9)


@pytest.mark.parametrize("precision, solver", [("float32", "full_batch"),
                                               ("float64", "mini_batch")])
def test_precision_can_be_forced(precision, solver):
    net = fitted("dnn", precision=precision, solver=solver)
    assert net.network_.variables().popitem()[1].dtype == precision


def test_precision_that_no_backend_here_has():
    with pytest.raises(Error, match='precision="float32"'):
        fitted("dnn", precision="tf32")


@pytest.mark.parametrize("rows, batch, epochs", [(128, 128, 3000), (300, 1, 10), (1000, 100, 300),
                                                 (1000, 300, 750)])
def test_automatic_epochs(rows, batch, epochs):
    net = gt.DNNClassifier(batch_size=batch)
    assert net._epochs(-(-rows // batch), full=False) == epochs


@pytest.mark.parametrize("net, epochs", [
    (gt.DNNRegressor(), 400), (gt.RNNClassifier(), 100), (gt.LinearClassifier(), 3000),
    (gt.DNNClassifier(solver="lbfgs"), 500), (gt.DNNClassifier(epochs=7), 7)], ids=str)
def test_automatic_epochs_of_full_batches(net, epochs):
    assert net._epochs(1, full=True) == epochs


def test_automatic_epochs_reach_the_loop():
    planned = []

    def note(run):
        planned.append(run.epochs)
        run.stop = True

    net = gt.LinearClassifier(solver="mini_batch", batch_size=4,
                              callbacks=FunctionCallback(on_epoch_end=note))
    net.fit(X, LABELS)
    assert planned == [300] and net.n_epochs_ == 1


def test_defaults_on_a_small_regression():
    random = np.random.default_rng(3)
    samples = random.normal(size=(200, 10))
    targets = samples @ random.normal(size=10) + 0.1 * random.normal(size=200)
    assert gt.DNNRegressor(hidden_layer_sizes=(16,), random_state=0).fit(
        samples, targets).score(samples, targets) > 0.9


# ---- validation and early stopping -------------------------------------------------------------

@every_net
def test_early_stopping_is_off_by_default(name):
    net = fitted(name)
    assert net.n_epochs_ == 4 == len(net.history_) and net.best_epoch_ == 3
    assert "val_loss" not in net.history_[0]


@every_net
def test_early_stopping_keeps_the_best_weights(name):
    net, samples, targets = make(name, epochs=30, early_stopping=True, patience=3,
                                 learning_rate=0.1)
    net.fit(samples[:30], targets[:30], X_val=samples[30:], y_val=targets[30:])
    losses = [logs["val_loss"] for logs in net.history_]
    assert net.best_epoch_ == int(np.argmin(losses))
    assert net.n_epochs_ == 30 or net.n_epochs_ == net.best_epoch_ + 4
    if name in CLASSIFIERS:
        right = net.predict_proba(samples[30:])[np.arange(10), targets[30:]]
        np.testing.assert_allclose(-np.log(right).mean(), min(losses), rtol=1e-5)


def test_validation_fraction_is_held_out_and_stratified():
    net = fitted("dnn", early_stopping=True, validation_fraction=0.25, epochs=3)
    assert {"val_loss", "val_accuracy"} <= set(net.history_[0])
    again = fitted("dnn", early_stopping=True, validation_fraction=0.25, epochs=3)
    assert same_weights(net, again)


def test_early_stopping_off_with_validation_data_only_reports():
    net, samples, targets = make("dnn_regressor", epochs=3)
    net.fit(samples, targets, X_val=samples, y_val=targets, sample_weight_val=np.ones(40))
    assert net.n_epochs_ == 3 and {"val_loss", "val_r2"} <= set(net.history_[0])


# ---- going on ----------------------------------------------------------------------------------

@every_net
def test_warm_start_goes_on(name):
    net = fitted(name, warm_start=True)
    before = weights(net)
    first = list(net.history_)
    _, samples, targets = make(name)
    net.fit(samples, targets)
    assert net.n_epochs_ == 8 and net.history_[:4] == first
    cold = fitted(name)
    assert same_weights(cold.fit(samples, targets), fitted(name))      # a refit starts anew
    assert any(not np.array_equal(a, b) for a, b in zip(before.values(), weights(net).values()))


def test_a_refit_has_the_same_bits_in_mini_batches():
    net = fitted("dnn", solver="mini_batch", batch_size=8)
    assert same_weights(copy.deepcopy(net).fit(X, LABELS), net)


def test_warm_start_takes_a_changed_learning_rate_and_loss():
    net = fitted("dnn_regressor", warm_start=True, schedule="constant")
    before = weights(net)
    net.set_params(learning_rate=1e-12, epochs=1).fit(X, NUMBERS)
    for a, b in zip(before.values(), weights(net).values()):
        np.testing.assert_allclose(a, b, atol=1e-9)
    net.set_params(loss="mean_absolute_error").fit(X, NUMBERS)
    error = np.abs(net.predict(X) - NUMBERS).mean() / NUMBERS.std()
    assert net.history_[-1]["loss"] == pytest.approx(error, rel=1e-6)


@every_net
def test_partial_fit_is_one_pass_at_constant_rate(name):
    net, samples, targets = make(name, solver="mini_batch", batch_size=16, schedule="one_cycle",
                                 epochs=50)
    steps = []
    net.set_params(callbacks=FunctionCallback(
        on_fit_end=lambda run: steps.append(int(run.trainer.keys.step.numpy()))))
    for k in range(3):
        net.partial_fit(samples, targets)
        assert net.n_epochs_ == k + 1
    assert len({logs["learning_rate"] for logs in net.history_}) == 1
    assert steps[0] > 1 and steps == [steps[0], 2 * steps[0], 3 * steps[0]]


def test_partial_fit_keeps_the_optimizer_state_also_through_pickle():
    def two_passes(between):
        net, samples, targets = make("dnn_regressor", solver="mini_batch", batch_size=8)
        net = between(net.partial_fit(samples, targets))
        return net.partial_fit(samples, targets)

    through = two_passes(lambda net: net)
    assert same_weights(through, two_passes(lambda net: pickle.loads(pickle.dumps(net))))
    assert same_weights(through, two_passes(copy.deepcopy))
    assert same_weights(through, two_passes(lambda n: copy.deepcopy(copy.deepcopy(n))))

    def forgetful(net):
        net._fitted.trainer = None
        return net
    assert not same_weights(through, two_passes(forgetful))


def test_classes_at_the_first_partial_fit():
    net, *_ = make("dnn")
    one = LABELS == 1
    net.partial_fit(X[one], LABELS[one], classes=[2, 0, 1])
    assert net.classes_.tolist() == [0, 1, 2]
    assert net.partial_fit(X, LABELS).predict_proba(X).shape == (40, 3)
    net.partial_fit(X, LABELS, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not the same as on the first call"):
        net.partial_fit(X, LABELS, classes=[0, 1])
    with pytest.raises(ValueError, match="the label 7 was not seen"):
        net.partial_fit(X, np.full(40, 7))


# ---- standardisation ---------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["linear", "dnn", "dnn_regressor", "rnn", "rnn_regressor"])
def test_standardisation_makes_scale_and_offset_irrelevant(name):
    net, samples, targets = make(name)
    other = clone(net).fit(samples * 1e3 + 50.0, targets)
    np.testing.assert_allclose(answers(net.fit(samples, targets), samples),
                               answers(other, samples * 1e3 + 50.0), atol=1e-6)
    raw = clone(net).set_params(standardize=False).fit(samples, targets)
    assert "standardize" not in [layer.name for layer in raw.network_.layers]
    assert not np.allclose(answers(raw, samples), answers(net, samples))


@every_net
def test_statistics_are_frozen_at_the_first_fit(name):
    net = fitted(name, warm_start=True)
    _, samples, targets = make(name)
    standard = net.network_.layers[0]
    mean, variance = np.copy(standard.mean), np.copy(standard.variance)
    moved = [s + 5.0 for s in samples] if isinstance(samples, list) else samples + 5.0
    net.fit(moved, targets).partial_fit(moved, targets)
    assert net.network_.layers[0] is standard
    np.testing.assert_array_equal(standard.mean, mean)
    np.testing.assert_array_equal(standard.variance, variance)


# ---- weights -----------------------------------------------------------------------------------

@every_net
@pytest.mark.parametrize("solver", ["full_batch", "mini_batch"])
def test_weight_zero_is_removing(name, solver):
    net, samples, targets = make(name, solver=solver, batch_size=8)
    given = np.ones(40)
    given[::3] = 0
    keep = np.flatnonzero(given)
    other = clone(net).fit(take(samples, keep), targets[keep])
    assert same_weights(net.fit(samples, targets, sample_weight=given), other)


@every_net
def test_weight_two_is_repeating(name):
    net, samples, targets = make(name)
    given = np.where(np.arange(40) % 3, 1.0, 2.0)
    rows = np.repeat(np.arange(40), given.astype(int))
    other = clone(net).fit(take(samples, rows), targets[rows])
    np.testing.assert_allclose(answers(net.fit(samples, targets, given), samples),
                               answers(other, samples), atol=1e-8)


@every_classifier
def test_class_weights_are_sample_weights(name):
    net, samples, targets = make(name)
    few = np.flatnonzero((targets == 0) | (np.arange(40) % 4 == 0))
    samples, targets = take(samples, few), targets[few]
    count = np.bincount(targets)
    balanced = len(targets) / (2 * count)
    for class_weight, factors in [({1: 3.0}, [1.0, 3.0]), ("balanced", balanced)]:
        one = clone(net).set_params(class_weight=class_weight).fit(samples, targets)
        other = clone(net).fit(samples, targets, np.asarray(factors)[targets])
        assert same_weights(one, other)


def test_balanced_class_weights_count_sample_weights():
    given = np.where(np.arange(40) % 3, 1.0, 0.0)
    keep = given > 0
    one, *_ = make("dnn", class_weight="balanced")
    assert same_weights(clone(one).fit(X, LABELS, given), one.fit(X[keep], LABELS[keep]))


# ---- what goes in ------------------------------------------------------------------------------

@every_classifier
@pytest.mark.parametrize("labels", [
    np.array(["no", "yes"]), np.array([False, True]), np.array([-3, 10], np.int8),
    np.array([0.0, 1.0]), np.array(["no", "yes"], object)], ids=lambda a: str(a.dtype))
def test_labels_of_any_kind(name, labels):
    net, samples, targets = make(name)
    net.fit(samples, labels[targets])
    assert net.predict(samples).dtype == labels.dtype
    assert set(net.predict(samples)) <= set(labels)
    assert 0 <= net.score(samples, labels[targets]) <= 1
    np.testing.assert_array_equal(net.predict_proba(samples), fitted(name).predict_proba(samples))


@every_net
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32"])
def test_samples_of_any_number_type(name, dtype):
    net, samples, targets = make(name)
    kinds = [np.abs(s * 3).astype(dtype) for s in samples]
    kinds = kinds if isinstance(samples, list) else np.stack(kinds)
    wide = [s.astype(np.float64) for s in kinds]
    wide = wide if isinstance(samples, list) else np.stack(wide)
    np.testing.assert_allclose(answers(clone(net).fit(kinds, targets), kinds),
                               answers(net.fit(wide, targets), wide), atol=1e-9)


@pytest.mark.parametrize("name", ["linear", "dnn", "cnn", "rnn_regressor"])
def test_frames_and_lists(name):
    net, samples, targets = make(name)
    frame = pd.DataFrame(samples, columns=list("abcd"))
    one = clone(net).fit(frame, pd.Series(targets))
    assert one.feature_names_in_.tolist() == list("abcd")
    two = clone(net).fit(samples.tolist(), targets.tolist())
    np.testing.assert_allclose(answers(one, frame), answers(two, samples), atol=1e-9)
    with pytest.raises(ValueError, match="feature names should match"):
        one.predict(frame[list("badc")])


@every_regressor
def test_several_targets(name):
    net, samples, targets = make(name)
    both = np.stack([targets, -2 * targets], axis=1)
    assert net.fit(samples, both).predict(samples).shape == (40, 2)
    assert clone(net).fit(samples, targets[:, None]).predict(samples).shape == (40, 1)
    assert clone(net).fit(samples, targets).predict(samples).shape == (40,)
    with pytest.raises(ValueError, match="fitted with 2"):
        net.partial_fit(samples, targets)


@every_classifier
def test_one_class(name):
    net, samples, _ = make(name)
    net.fit(samples, np.full(40, 3))
    assert (net.predict(samples) == 3).all() and (net.predict_proba(samples) == 1).all()


@every_net
def test_one_row(name):
    net, samples, targets = make(name)
    net.fit(take(samples, [0]), targets[:1])
    assert np.isfinite(answers(net, take(samples, [1, 2]))).all()


@pytest.mark.parametrize("name", ["linear", "dnn", "dnn_regressor", "cnn", "rnn"])
def test_one_feature(name):
    net, samples, targets = make(name)
    assert np.isfinite(answers(net.fit(samples[:, :1], targets), samples[:, :1])).all()


def test_counts_are_predicted_as_rates():
    counts = np.random.default_rng(1).poisson(np.exp(X[:, 0]))
    net = gt.DNNRegressor(hidden_layer_sizes=(8,), loss="poisson", epochs=300, random_state=0)
    predicted = net.fit(X, counts).predict(X)
    assert (predicted > 0).all() and net.score(X, counts) > 0.5
    with pytest.raises(ValueError, match="counts from 0 on"):
        net.fit(X, counts - 5)
