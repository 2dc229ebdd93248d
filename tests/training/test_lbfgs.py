"""L-BFGS beside closed forms and SciPy's, its line search, and what must not matter to it."""
import pickle

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.utils.estimator_checks import estimator_checks_generator

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import DataParallel
from gradatim.backend.errors import NonFiniteError, ParameterError
from gradatim.datasets import load_breast_cancer, load_iris
from gradatim.training import LBFGS, Checkpoint, FunctionCallback
from gradatim.training.line_search import strong_wolfe

RNG = np.random.default_rng(3)
X = RNG.standard_normal((90, 6)) * [1, 3, 0.2, 1, 5, 1]
Y = X @ RNG.standard_normal((6, 2)) + 0.3
CLASSES = (X[:, :3] @ RNG.standard_normal((3, 3)) + RNG.standard_normal((90, 3))).argmax(1)
WEIGHTS = RNG.random(90)
CROSS_ENTROPY = layers.SparseCategoricalCrossentropy(from_logits=True)


def net(outputs=1):
    return gt.Sequential([layers.Dense(5, "tanh"), layers.Dense(outputs)])


def fitted(model, y, loss="mse", optimizer=LBFGS(tolerance=1e-9), rows=slice(None), epochs=500,
           weights=WEIGHTS, fit={}, **settings):
    trainer = gt.Trainer(model, loss, optimizer, dtype="float64", **settings)
    weights = None if weights is None else weights[rows]
    return trainer, trainer.fit(X[rows], y[rows], weights, epochs=epochs, batch_size=None, **fit)


def vector(trainer):
    return np.concatenate([v.numpy().ravel() for v in trainer.model.variables().values()])


# ---- the minimum -------------------------------------------------------------------------------

def test_ridge_has_a_closed_form():
    """(X'WX + a I) w = X'Wy, with the intercept left alone, W summing to one, and y in two columns:
    the loss of a sample is the mean over both."""
    alpha = 0.3
    trainer, run = fitted(gt.Sequential([layers.Dense(2)]), Y, alpha=alpha)
    design, w = np.c_[X, np.ones(90)], WEIGHTS / WEIGHTS.sum()
    penalty = np.diag([alpha] * 6 + [0])
    expected = np.linalg.solve(design.T @ (design * w[:, None]) + penalty,
                               design.T @ (Y * w[:, None]))
    assert run.converged and len(run.history) < 60
    np.testing.assert_allclose(vector(trainer), expected.ravel(), rtol=0, atol=1e-7)


def objective(alpha):
    """Multinomial logistic regression in NumPy."""
    truth, w = np.eye(3)[CLASSES], WEIGHTS / WEIGHTS.sum()

    def value_and_slopes(flat):
        kernel, bias = flat[:18].reshape(6, 3), flat[18:]
        z = X @ kernel + bias
        z = z - z.max(axis=1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        g = (p - truth) * w[:, None]
        value = -(w * np.log(p[np.arange(90), CLASSES])).sum() + alpha / 2 * (kernel ** 2).sum()
        return value, np.concatenate([(X.T @ g + alpha * kernel).ravel(), g.sum(0)])
    return value_and_slopes


def test_logistic_regression_reaches_the_minimum_of_scipy():
    found = minimize(objective(0.01), np.zeros(21), jac=True, method="L-BFGS-B",
                     options={"gtol": 1e-9, "ftol": 0, "maxiter": 2000})
    trainer, run = fitted(gt.Sequential([layers.Dense(3)]), CLASSES, CROSS_ENTROPY, alpha=0.01)
    value, slopes = objective(0.01)(vector(trainer))
    assert run.converged and len(run.history) < 2 * found.nit
    assert value == pytest.approx(found.fun, abs=1e-12) and abs(slopes).max() <= 1e-9
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def depths(seed):
    """The loss after 60 iterations, ours and SciPy's, from the same weights."""
    def start():
        settings = dict(dtype="float64", alpha=1e-3, seed=seed)
        trainer = gt.Trainer(net(2), "mse", LBFGS(tolerance=0.0), **settings)
        trainer.prepare(X)
        return trainer
    trainer, other = start(), start()
    trainer.fit(X, Y, WEIGHTS, epochs=60, batch_size=None)
    weights = list(other.model.variables().values())
    x, y, w = (gt.placeholder(a.shape, "float64") for a in (X, Y, WEIGHTS))
    loss = gt.batch_sum(gt.square(other.model(x) - y).mean(axis=1), w) / w.sum()
    for v in weights[::2]:
        loss = loss + gt.square(v).sum() * 5e-4
    look = gt.function([x, y, w], [loss, *gt.gradients(loss, weights)])

    def value_and_slopes(flat):
        first = 0
        for v in weights:
            v.assign(flat[first:first + v.spec.size].reshape(v.shape))
            first += v.spec.size
        value, *slopes = look(X, Y, WEIGHTS)
        return float(value), np.concatenate([s.ravel() for s in slopes])
    found = minimize(value_and_slopes, vector(other), jac=True, method="L-BFGS-B",
                     options={"maxiter": 60, "gtol": 0, "ftol": 0})
    return value_and_slopes(vector(trainer))[0], found.fun


def test_nets_go_down_as_deep_as_with_scipy():
    ours, theirs = np.log([depths(seed) for seed in range(6)]).T
    assert np.mean(ours - theirs) < 0.3


# ---- the line search ---------------------------------------------------------------------------

LINES = {
    "parabola": (lambda a: ((a - 3) ** 2, 2 * (a - 3)), 1.0),
    "far": (lambda a: ((a - 1e4) ** 2, 2 * (a - 1e4)), 1.0),
    "near": (lambda a: ((a - 1e-6) ** 2, 2 * (a - 1e-6)), 1.0),
    "waves": (lambda a: (np.cos(3 * a) - 0.2 * a, -3 * np.sin(3 * a) - 0.2), 4.0),
    "wall": (lambda a: (np.log(5 - a) + 1 / (5 - a), -1 / (5 - a) + 1 / (5 - a) ** 2)
             if a < 5 else (np.nan, np.nan), 5.0),
    "quartic": (lambda a: (a ** 4 - 8 * a, 4 * a ** 3 - 8), 10.0),
}


@pytest.mark.parametrize("name", LINES)
def test_both_conditions_hold(name):
    along, first = LINES[name]
    value, slope = along(0.0)
    at = strong_wolfe(along, value, slope, first)
    assert at > 0 and along(at)[0] <= value + 1e-4 * at * slope
    assert abs(along(at)[1]) <= 0.9 * abs(slope)


def test_no_lower_point_is_no_step():
    assert strong_wolfe(lambda a: (1.0 + a, 1.0), 1.0, -1.0) == 0.0
    assert strong_wolfe(lambda a: (np.nan, np.nan), 1.0, -1.0) == 0.0
    assert strong_wolfe(lambda a: (-a, -1.0), 0.0, -1.0, tries=3) > 1      # falls for ever


# ---- what must not matter ----------------------------------------------------------------------

def test_the_order_of_rows_does_not_matter():
    order = RNG.permutation(90)
    one, two = (fitted(net(2), Y, rows=rows, epochs=15)[0] for rows in (slice(None), order))
    np.testing.assert_allclose(vector(one), vector(two), rtol=0, atol=1e-8)


def test_replicas_come_to_the_same():
    one, two = (fitted(net(2), Y, epochs=15, alpha=0.01, strategy=s)[0]
                for s in ("single", DataParallel(2)))
    np.testing.assert_allclose(vector(one), vector(two), rtol=0, atol=1e-8)


def test_a_checkpoint_goes_on_with_the_same_bits(tmp_path):
    def fit(stop=None):
        def kill(run):
            if run.epoch == stop:
                raise SystemExit
        callbacks = [FunctionCallback(kill), Checkpoint(tmp_path / "run.h5")]
        return fitted(net(2), Y, epochs=25, fit={"callbacks": callbacks})[0]
    with pytest.raises(SystemExit):
        fit(stop=12)
    assert (vector(fit()) == vector(fit())).all()


def test_an_interrupted_search_leaves_the_weights_before():
    trainer, _ = fitted(net(2), Y, epochs=3)
    before = vector(trainer)
    step = next(made for made, _ in trainer._functions.values() if hasattr(made, "descend"))
    look, looks = step.look, []

    def interrupted(*arguments):
        looks.append(1)
        if len(looks) == 2:
            step.put(np.ones_like(before))
            raise KeyboardInterrupt
        return look(*arguments)
    step.look = interrupted
    assert trainer.fit(X, Y, WEIGHTS, epochs=5, batch_size=None).interrupted
    assert (vector(trainer) == before).all()


def test_moving_statistics_follow():
    model = gt.Sequential([layers.BatchNormalization(momentum=0.0), layers.Dense(2)])
    fitted(model, Y, weights=None, epochs=2)
    found = {path.rpartition("/")[2]: v.numpy() for path, v in model.variables().items()}
    np.testing.assert_allclose(found["moving_mean"], X.mean(0), atol=1e-12)


def test_a_loss_that_is_not_finite_from_the_beginning():
    with pytest.raises(NonFiniteError) as caught:
        fitted(net(2), Y * 1e200)
    assert str(caught.value) == ("the loss is not finite where L-BFGS begins\n  got  loss inf\n"
                                 "  fix  scale the samples and targets")


# ---- estimators --------------------------------------------------------------------------------

LINEAR = gt.LinearClassifier(solver="lbfgs", alpha=1e-3)


@pytest.mark.parametrize("estimator, check", list(estimator_checks_generator(
    gt.DNNRegressor(hidden_layer_sizes=(4,), solver="lbfgs", epochs=40)))[2::9],
    ids=lambda case: getattr(getattr(case, "func", None), "__name__", "net"))
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_estimators_end_by_themselves(tmp_path):
    data = load_breast_cancer()
    model = gt.LinearClassifier(solver="lbfgs", alpha=1e-2).fit(data.data, data.target)
    assert model.n_epochs_ < 100 and model.score(data.data, data.target) > 0.98
    assert model._fitted.dtype == "float64" and model.history_[-1]["learning_rate"] == 0.0
    model.save(tmp_path / "m.h5")
    for again in (gt.load(tmp_path / "m.h5"), pickle.loads(pickle.dumps(model))):
        assert (again.predict_proba(data.data) == model.predict_proba(data.data)).all()
    once_more = model.set_params(warm_start=True).fit(data.data, data.target)
    assert once_more.n_epochs_ == len(once_more.history_) and once_more.history_[-1]["loss"] < 0.1


@pytest.mark.parametrize("settings", [{"solver": "lbfgs"}, {"optimizer": "lbfgs"},
                                      {"optimizer": LBFGS(memory=3)}], ids=str)
def test_solver_and_optimizer_name_it(settings, tmp_path):
    data = load_iris()
    model = gt.DNNClassifier(hidden_layer_sizes=(6,), epochs=9, **settings)
    model.fit(data.data, data.target).partial_fit(data.data, data.target).save(tmp_path / "m.h5")
    assert model.n_epochs_ == 10 and model._optimizer.whole_batches
    assert gt.load(tmp_path / "m.h5").get_params()["optimizer"] == model.optimizer


ERRORS = [
    (lambda: gt.DNNClassifier(dropout=0.5, solver="lbfgs").fit(X, CLASSES),
     "L-BFGS needs a loss that is the same twice, and this net draws random numbers while training"
     "\n  fix  leave out dropout, noise and augmentation, or use another optimizer"),
    (lambda: gt.DNNClassifier(optimizer="lbfgs", solver="mini_batch").fit(X, CLASSES),
     "L-BFGS takes all samples in every step\n  got  batch_size=90\n  fix  pass batch_size=None"),
    (lambda: gt.DNNClassifier(solver="lbfgs", ema=0.9).fit(X, CLASSES),
     "L-BFGS makes no steps that accumulate=, ema= or swa= could change\n"
     "  fix  leave them out, or use another optimizer"),
    (lambda: LINEAR.find_learning_rate(X, CLASSES),
     'L-BFGS has no learning rate to look for\n  fix  use solver="auto", or just fit'),
    (lambda: LBFGS(memory=0), "memory must be a whole number from 1 on, not 0"),
]


@pytest.mark.parametrize("make, text", ERRORS, ids=[text[:28] for _, text in ERRORS])
def test_error_texts(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text
