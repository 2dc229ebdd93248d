"""Accumulation, averages, frozen layers, weights of other models, health, where NaN came from."""
import math
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.estimator_checks import estimator_checks_generator

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import DataParallel
from gradatim.backend.errors import NonFiniteError, ParameterError, UnknownNameError
from gradatim.datasets import load_diabetes, load_digits
from gradatim.training import SGD, Checkpoint, FunctionCallback, Health
from gradatim.training.rate_finder import Sweep, suggestion

RNG = np.random.default_rng(11)
X = RNG.standard_normal((70, 5))
Y = (X[:, 0] * X[:, 1])[:, None]
WEIGHTS = RNG.random(70)
LISTS = [RNG.standard_normal((3 + i % 5, 2)) for i in range(70)]


def net():
    return gt.Sequential([layers.Dense(7, "tanh", kernel_regularizer=layers.L2(0.01)),
                          layers.Dropout(0.3), layers.Dense(1)])


def recurrent():
    return gt.Sequential([layers.GRU(4), layers.Dropout(0.3), layers.Dense(1)])


def trained(make=net, samples=X, batch_size=16, epochs=3, **settings):
    trainer = gt.Trainer(make(), dtype="float64", metrics=["mae"], learning_rate=0.01, **settings)
    run = trainer.fit(samples, Y, WEIGHTS, epochs=epochs, batch_size=batch_size, X_val=samples,
                      y_val=Y)
    return trainer, run


def weights_of(trainer):
    return {path: v.numpy() for path, v in trainer.model.variables().items()}


def assert_close(a, b, tolerance=1e-12):
    for (path, one), two in zip(a.items(), b.values(), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance, err_msg=path)


# ---- scikit-learn's contract, one check in nine -----------------------------------------------

OPTIONS = gt.DNNRegressor(hidden_layer_sizes=(16,), epochs=60, accumulate=2, ema=0.9, health=True)


@pytest.mark.parametrize("estimator, check", list(estimator_checks_generator(OPTIONS))[4::9],
                         ids=lambda case: getattr(getattr(case, "func", None), "__name__", "net"))
def test_scikit_learn_check(estimator, check):
    check(estimator)


# ---- accumulation ------------------------------------------------------------------------------

@pytest.mark.parametrize("make, samples, batch_size", [
    (net, X, 24), (net, X, None), (recurrent, LISTS, 24)], ids=["rows", "whole", "lists"])
@pytest.mark.parametrize("settings", [{}, {"alpha": 0.1, "optimizer": SGD(momentum=0.9)},
                                      {"strategy": DataParallel(2)}], ids=["", "sgd", "replicas"])
def test_accumulation_is_the_larger_batch(make, samples, batch_size, settings):
    large, whole = trained(make, samples, batch_size, **settings)
    small = None if batch_size is None else batch_size // 3
    parts, run = trained(make, samples, small, accumulate=3, **settings)
    assert parts.keys.step.numpy() == large.keys.step.numpy()
    assert_close(weights_of(parts), weights_of(large))
    for one, two in zip(run.history, whole.history):
        assert one == pytest.approx(two, abs=1e-12)


def test_an_estimator_accumulates():
    data = load_digits()
    settings = dict(epochs=2, dropout=0.2, random_state=0, precision="float64")
    one = gt.DNNClassifier(batch_size=120, **settings).fit(data.data, data.target)
    two = gt.DNNClassifier(batch_size=30, accumulate=4, **settings).fit(data.data, data.target)
    np.testing.assert_allclose(one.decision_function(data.data), two.decision_function(data.data),
                               rtol=0, atol=1e-10)


def test_accumulation_is_a_whole_number():
    for wrong in (0, 1.5):
        with pytest.raises(ParameterError) as caught:
            gt.Trainer(net(), accumulate=wrong)
        assert str(caught.value) == f"accumulate must be a whole number from 1 on, not {wrong!r}"


# ---- averages ----------------------------------------------------------------------------------

def test_averages_are_those_of_the_formula():
    plain = gt.Trainer(net(), dtype="float64")
    seen = []

    class Note(gt.training.Callback):
        every_steps = 1

        def on_batch_end(self, run):
            seen.append(weights_of(plain))

    plain.fit(X, Y, epochs=4, batch_size=16, callbacks=Note())
    means = None
    for t, now in enumerate(seen):
        decay = min(0.6, t / (t + 10))
        means = {k: now[k] + decay * (means[k] - now[k] if means else 0) for k in now}
    trainer = gt.Trainer(net(), dtype="float64", ema=0.6)
    run = trainer.fit(X, Y, epochs=4, batch_size=16, X_val=X, y_val=Y)
    assert_close(weights_of(trainer), means)
    assert trainer.evaluate(X, Y)["loss"] == pytest.approx(run.history[-1]["val_loss"], abs=1e-12)
    assert any(np.abs(means[k] - seen[-1][k]).max() > 1e-4 for k in means)


@pytest.mark.parametrize("settings", [{"ema": 0.9}, {"ema": 0.9, "accumulate": 2}, {"swa": 0.5},
                                      {"precision": "bfloat16"}], ids=str)
def test_a_checkpoint_keeps_averages_too(tmp_path, settings):
    def fit(path=None, stop=10 ** 6):
        def end(run):
            if run.epoch == stop:
                raise SystemExit
        trainer = gt.Trainer(net(), **settings)
        trainer.fit(X, Y, epochs=4, batch_size=16, callbacks=[
            FunctionCallback(end), *([Checkpoint(path, every_steps=1)] if path else [])])
        return {name: v.numpy().tobytes() for name, v in trainer.variables().items()}

    if "precision" in settings and gt.get_backend().name == "reference":
        pytest.skip("bfloat16 is for the native backend")
    with pytest.raises(SystemExit):
        fit(tmp_path / "run.h5", 2)
    assert fit(tmp_path / "run.h5") == fit()


def test_early_stopping_keeps_averages():
    data = load_digits()
    model = gt.DNNClassifier(epochs=6, ema=0.99, early_stopping=True, random_state=0)
    model.fit(data.data, data.target)
    assert model.score(data.data, data.target) > 0.8
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict(data.data) == model.predict(data.data)).all()


def normalised():
    return gt.Sequential([layers.Dense(7, "tanh"), layers.BatchNormalization(momentum=0.9),
                          layers.Dropout(0.2), layers.Dense(1)])


@pytest.mark.parametrize("settings", [{}, {"strategy": DataParallel(2)}, {"accumulate": 2}],
                         ids=["", "replicas", "accumulate"])
def test_averages_over_epochs(settings):
    seen = []
    note = FunctionCallback(lambda run: seen.append(weights_of(trainer)))
    trainer = gt.Trainer(normalised(), dtype="float64", swa=0.5, learning_rate=0.02, **settings)
    run = trainer.fit(X, Y, epochs=6, batch_size=16, callbacks=note, X_val=X, y_val=Y)
    ends = seen[3:]
    found = weights_of(trainer)
    for path in found:
        if "moving" not in path:
            np.testing.assert_allclose(found[path], np.mean([e[path] for e in ends], axis=0),
                                       rtol=0, atol=1e-13, err_msg=path)
    hidden = np.tanh(X @ found["dense/kernel"] + found["dense/bias"])
    np.testing.assert_allclose(found["batch_normalization/moving_mean"], hidden.mean(0), atol=1e-10)
    assert trainer.evaluate(X, Y)["loss"] == pytest.approx(run.history[-1]["val_loss"], abs=1e-12)
    assert abs(ends[-1]["dense/kernel"] - found["dense/kernel"]).max() > 1e-4
    trainer.fit(X, Y, epochs=2, batch_size=16)                    # averages begin again
    assert trainer.slots["swa"][""].numpy() == 1


def test_estimators_average_over_epochs(tmp_path):
    data = load_digits()
    model = gt.DNNClassifier(batch_norm=True, epochs=8, swa=0.5, early_stopping=True,
                             random_state=0).fit(data.data, data.target)
    assert model.score(data.data, data.target) > 0.92
    assert len({logs["learning_rate"] for logs in model.history_}) == 1
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict(data.data) == model.predict(data.data)).all()
    with pytest.raises(ParameterError) as caught:
        clone(model).set_params(ema=0.9).fit(data.data, data.target)
    assert str(caught.value) == ("ema and swa are two averages, and a fit ends with one\n"
                                 "  fix  leave out ema= or swa=")


# ---- frozen layers and weights of other models ---------------------------------------------------

def dense(**settings):
    return gt.DNNRegressor(hidden_layer_sizes=(6, 5), epochs=3, random_state=1, **settings)


def differing(a, b):
    theirs = b.network_.variables()
    return [path for path, v in a.network_.variables().items()
            if not np.array_equal(v.numpy(), theirs[path].numpy())]


HIDDEN, LAST = ["sequential/dense", "sequential/dense_1"], "sequential/dense_2"


@pytest.mark.parametrize("names", [HIDDEN, ["dense", "dense_1"], ("dense", "dense_1")], ids=str)
def test_frozen_layers_keep_their_weights(tmp_path, names):
    source = dense().fit(X, Y[:, 0])
    source.save(tmp_path / "source.h5")
    for given in (source, tmp_path / "source.h5", FrozenEstimator(source), source.network_):
        model = dense(freeze=names, warm_start_from=given).fit(X, -Y[:, 0])
        assert differing(model, source) == [f"{LAST}/kernel", f"{LAST}/bias"]
    model.set_params(freeze=None, warm_start=True).fit(X, -Y[:, 0])      # and learn again
    assert len(differing(model, source)) == 6
    model.set_params(freeze="dense*", warm_start_from=None)
    before = pickle.loads(pickle.dumps(model))
    model.fit(X, -Y[:, 0])                                              # nothing is left to learn
    assert differing(model, before) == []


def test_clones_forget_what_was_fitted_but_not_what_is_frozen():
    source = dense().fit(X, Y[:, 0])
    kept = clone(dense(warm_start_from=FrozenEstimator(source))).fit(X, Y[:, 0])
    assert kept.network_.built == source.network_.built
    with pytest.raises(ParameterError) as caught:
        clone(dense(warm_start_from=source)).fit(X, Y[:, 0])
    assert str(caught.value) == (
        "the model of warm_start_from is not fitted, or not a net\n"
        "  got  DNNRegressor\n"
        "  fix  fit it first; for clone and searches pass its file or FrozenEstimator(model)")


def test_another_head_is_drawn_anew():
    data = load_digits()
    source = gt.DNNClassifier(epochs=2, random_state=0).fit(data.data, data.target)
    rows = data.target < 4
    model = gt.DNNClassifier(epochs=1, freeze="dense", warm_start_from=source, random_state=0)
    model.fit(data.data[rows], data.target[rows])
    assert model.predict_proba(data.data[:3]).shape == (3, 4)
    np.testing.assert_array_equal(model.network_.variables()["sequential/dense/kernel"].numpy(),
                                  source.network_.variables()["sequential/dense/kernel"].numpy())


def test_names_and_weights_that_do_not_fit():
    with pytest.raises(UnknownNameError, match='^there is no layer "dens"\n'):
        dense(freeze=["dens"]).fit(X, Y[:, 0])
    other = gt.DNNRegressor(hidden_layer_sizes=(9,), epochs=1).fit(X[:, :3], Y[:, 0])
    with pytest.raises(ParameterError, match="^no weight of warm_start_from fits the new net\n"):
        dense(warm_start_from=other).fit(X, Y[:, 0])


# ---- the learning-rate finder --------------------------------------------------------------------

def test_a_rate_is_suggested_that_learns():
    data = load_digits()
    model = gt.DNNClassifier(random_state=0, epochs=5)
    before = dict(vars(model))
    found = model.find_learning_rate(data.data, data.target)
    assert vars(model) == before and found.rates.shape == found.losses.shape
    assert found.rates[0] == pytest.approx(1e-6) and (np.diff(np.log(found.rates)) > 0).all()
    assert np.isfinite(found.losses).all() and len(found.rates) <= 100
    model.set_params(learning_rate=found.suggestion).fit(data.data, data.target)
    assert model.score(data.data, data.target) > 0.85


def test_a_finder_of_a_net_that_explodes():
    found = gt.DNNRegressor(optimizer="sgd", random_state=0).find_learning_rate(
        X, Y[:, 0], low=1e-4, high=1e30, steps=20)
    assert 3 <= len(found.rates) < 20 and 1e-4 <= found.suggestion < 10


def test_the_steepest_fall_is_suggested():
    rates = np.geomspace(1e-6, 10, 100)
    losses = 2 - 1 / (1 + (1e-2 / rates) ** 3) + np.where(rates > 0.5, rates, 0)
    assert 3e-3 < suggestion(rates, losses) < 3e-2
    assert math.isnan(suggestion(np.array([]), np.array([])))
    assert Sweep(100.0, 3).table(3) == pytest.approx([1, 10, 100])


@pytest.mark.parametrize("wrong, text", [
    ({"low": 1.0, "high": 0.1}, "the rates must be 0 < low < high\n  got  low=1.0, high=0.1"),
    ({"steps": 2}, "steps must be a whole number from 3 on, not 2")], ids=str)
def test_ranges_of_rates(wrong, text):
    with pytest.raises(ParameterError) as caught:
        dense().find_learning_rate(X, Y[:, 0], **wrong)
    assert str(caught.value) == text


# ---- health and forensics ------------------------------------------------------------------------

def test_health_against_numbers_by_hand():
    model = gt.Sequential([layers.Dense(4, "relu", bias_initializer=layers.Constant(-9.0)),
                           layers.Dense(1, use_bias=False)])
    health = Health()
    trainer = gt.Trainer(model, optimizer=SGD(0.0), dtype="float64")
    run = trainer.fit(X, Y, epochs=2, batch_size=None, callbacks=health)
    first, second = run.memory(health).epochs
    assert first == second and list(first) == ["dense", "dense_1"]
    kernel, bias, last = model.get_weights()
    hidden = np.maximum(X @ kernel + bias, 0)
    assert first["dense"]["dead"] == pytest.approx((hidden == 0).all(axis=0).mean())
    assert first["dense"]["mean"] == pytest.approx(hidden.mean())
    assert first["dense_1"]["weight_norm"] == pytest.approx(np.linalg.norm(last))
    slope = hidden.T @ (2 * (hidden @ last - Y)) / len(X)
    assert first["dense_1"]["gradient_norm"] == pytest.approx(np.linalg.norm(slope), abs=1e-12)
    assert all(numbers["non_finite"] == 0 for numbers in first.values())


def test_health_of_an_estimator():
    model = dense(health=True).fit(X, Y[:, 0])
    assert len(model.health_) == 3 and LAST in model.health_[0]
    images = gt.CNNClassifier(health=True, epochs=1, random_state=0).fit(
        load_digits().images[:300], load_digits().target[:300])
    assert any("batch_normalization" in path for path in images.health_[0])


class Root(layers.Layer):
    """A layer that makes NaN of negative numbers."""

    def call(self, x):
        return gt.sqrt(x)                                           # this line is named


def rooted(spec, n_outputs):
    return gt.Sequential([layers.Dense(4), Root(name="root"), layers.Dense(n_outputs)])


def here(mark):
    lines = open(__file__).read().splitlines()
    return 1 + next(i for i, line in enumerate(lines) if line.endswith(mark))


def test_nan_names_op_layer_samples_and_line():
    rows = np.abs(RNG.standard_normal((600, 8, 8)))
    rows[417] = -rows[417] * 1e3
    first = layers.Dense(2, kernel_initializer="ones")
    model = gt.CNNRegressor(
        architecture=lambda spec, n: gt.Sequential([layers.Flatten(), first, Root(name="root"),
                                                    layers.Dense(n)]),
        standardize=False, epochs=2, random_state=0, batch_size=64, learning_rate=1e-6)
    with pytest.raises(NonFiniteError) as caught:
        model.fit(rows, rows.mean(axis=(1, 2)))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("training diverged in step ") and lines[0].endswith("of epoch 1")
    assert lines[1:] == [
        "  got      sqrt: NaN or infinity from finite numbers, float32[64, 2]",
        f'  at       test_training_options.py:{here("# this line is named")}, in Root "root"',
        "  samples  417",
        "  fix      lower learning_rate, or scale the samples and targets"]


def test_nan_in_a_later_epoch_and_numbers_of_the_users_rows():
    weights = np.ones(700)
    weights[:50] = 0                                        # these are left out
    rows = np.abs(RNG.standard_normal((700, 3)))
    targets = rows.sum(axis=1)
    trainer = gt.DNNRegressor(hidden_layer_sizes=(4,), optimizer="sgd", learning_rate=30.0,
                              schedule="constant", epochs=60, random_state=0)
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit(rows, targets, sample_weight=weights)           # this fit is named
    text = str(caught.value)
    assert text.startswith("training diverged in step ") and "NaN or infinity from finite" in text
    assert f"options.py:{here('# this fit is named')}, in Dense" in text
    found = next((line for line in text.splitlines() if line.startswith("  samples")), "")
    numbers = [int(n) for n in found.removeprefix("  samples").split("...")[0].split(",")
               if n.strip()]
    assert all(50 <= n < 700 for n in numbers)


def test_nan_among_the_samples_of_a_trainer():
    bad = X.copy()
    bad[[3, 40], 1] = np.nan
    with pytest.raises(NonFiniteError) as caught:
        gt.Trainer(net()).fit(bad, Y, batch_size=None, check_finite=True)
    assert str(caught.value) == ("training diverged in step 1 of epoch 1\n"
                                 "  got      x is not finite\n"
                                 "  samples  3, 40\n"
                                 "  fix      lower learning_rate, or scale the samples and targets")


# ---- alpha="auto" ------------------------------------------------------------------------------

def test_small_tables_are_not_learned_by_heart():
    data = load_diabetes()
    for cls in (gt.DNNRegressor, gt.WideAndDeepRegressor):
        scores = [cls(random_state=0, **settings).fit(data.data[:160], data.target[:160])
                  .score(data.data[160:], data.target[160:]) for settings in ({}, {"alpha": 0.0})]
        assert scores[0] > 0.4 > scores[1] + 0.1


@pytest.mark.parametrize("cls, y, worth", [(gt.DNNRegressor, Y[:, 0], 10.0),
                                           (gt.DNNClassifier, Y[:, 0] > 0, 1.0)])
def test_automatic_penalties_go_by_the_weight_of_all_samples(cls, y, worth):
    def fitted(alpha, X=X, y=y, method="fit", **settings):
        model = cls(hidden_layer_sizes=(4,), epochs=3, alpha=alpha, random_state=0, **settings)
        return getattr(model, method)(X, y).network_.variables()["sequential/dense/kernel"].numpy()

    many, numbers = np.tile(X, (3, 1)), np.tile(y, 3)
    for automatic, alpha, *given in [
            ("auto", worth / 210, many, numbers), ("auto", min(worth / 20, 0.1), X[:20], y[:20]),
            ("auto", 0.0, X, y, "partial_fit")]:
        np.testing.assert_array_equal(fitted(automatic, *given), fitted(alpha, *given))
        assert np.abs(fitted(automatic, *given) - fitted(alpha + 0.01, *given)).max() > 0
    np.testing.assert_array_equal(fitted("auto", standardize=False),
                                  fitted(0.0, standardize=False))
