"""Adaptive and layer-wise optimizers, piecewise rates and AUC against NumPy and scikit-learn."""
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import gradatim as gt
from gradatim import layers, training
from gradatim.backend.errors import ParameterError, ShapeError
from gradatim.training.metric import metric
from gradatim.training.optimizers import optimizer
from gradatim.training.schedules import schedule

START = np.array([1.0, -2.0, 0.5])
GRADIENTS = np.random.default_rng(1).standard_normal((7, 3))


def adagrad(w, g, s, rate, t):
    s["a"] = s.get("a", 0.1) + g ** 2
    return w - rate * g / np.sqrt(s["a"] + 1e-7)


def adadelta(w, g, s, rate, t):
    s["a"] = 0.95 * s.get("a", 0.0) + 0.05 * g ** 2
    step = np.sqrt(s.get("d", 0.0) + 1e-7) / np.sqrt(s["a"] + 1e-7) * g
    s["d"] = 0.95 * s.get("d", 0.0) + 0.05 * step ** 2
    return w - rate * step


def adamax(w, g, s, rate, t):
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["u"] = np.maximum(0.999 * s.get("u", 0.0), np.abs(g))
    return w - rate / (1 - 0.9 ** t) * s["m"] / (s["u"] + 1e-7)


def nadam(w, g, s, rate, t):
    now, following = (0.9 * (1 - 0.5 * 0.96 ** i) for i in (t, t + 1))
    s["product"] = s.get("product", 1.0) * now
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g ** 2
    m = following * s["m"] / (1 - s["product"] * following) + (1 - now) * g / (1 - s["product"])
    return w - rate * m / (np.sqrt(s["v"] / (1 - 0.999 ** t)) + 1e-7)


def lion(w, g, s, rate, t):
    m = s.get("m", 0.0)
    s["m"] = 0.99 * m + 0.01 * g
    return w - rate * np.sign(0.9 * m + 0.1 * g)


def radam(w, g, s, rate, t):
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g ** 2
    length = 1999.0 - 2.0 * t * 0.999 ** t / (1 - 0.999 ** t)
    m = rate * s["m"] / (1 - 0.9 ** t)
    if length <= 5:
        return w - m
    grown = np.sqrt((length - 4) * (length - 2) * 1999 / (1995 * 1997 * length))
    return w - m * grown * np.sqrt(1 - 0.999 ** t) / (np.sqrt(s["v"]) + 1e-7)


def lars(w, g, s, rate, t):
    share = 0.001 * np.linalg.norm(w) / np.linalg.norm(g)
    s["v"] = 0.9 * s.get("v", 0.0) + rate * share * g
    return w - s["v"]


def adafactor(w, g, s, rate, t):
    s["v"] = s.get("v", 0.0) + (g ** 2 - s.get("v", 0.0)) * t ** -0.8
    step = g / np.sqrt(s["v"])
    step = step / max(1.0, np.sqrt(np.mean(step ** 2)))
    return w - min(rate, t ** -0.5) * max(1e-3, np.sqrt(np.mean(w ** 2))) * step


def steps(chosen, start, gradients):
    """The parameter after each step."""
    p, feed = gt.variable(start.copy(), name="p"), gt.placeholder(start.shape, "float64",
                                                                  batch=False)
    step, rate = gt.variable(np.int64(0)), gt.constant(np.float64(0.1))
    updates = chosen.updates({"p": p}, {"p": feed}, chosen.state_for({"p": p}), rate, step)
    train = gt.function([feed], rate, updates={**updates, step: step + 1})
    for g in gradients:
        train(g)
        yield p.numpy()


@pytest.mark.parametrize("name, formula", [
    (f.__name__, f) for f in (adagrad, adadelta, adamax, nadam, lion, radam, lars, adafactor)])
def test_seven_steps_are_those_of_the_formula(name, formula):
    expected, slots = START, {}
    found = steps(optimizer(name), START, GRADIENTS)
    for t, (g, p) in enumerate(zip(GRADIENTS, found, strict=True), 1):
        expected = formula(expected, g, slots, 0.1, t)
        np.testing.assert_allclose(p, expected, rtol=1e-12)


def test_adafactor_of_a_kernel_is_kerass():
    """Keras 3.15 keeps some of its numbers in float32."""
    start = np.array([[1.0, -2.0, 0.5], [0.3, 0.1, -0.7]])
    gradients = np.random.default_rng(1).standard_normal((7, 2, 3))
    *_, last = steps(training.Adafactor(), start, gradients)
    np.testing.assert_allclose(last, [
        [1.4193163222415501, -1.7459557912970989, 0.4757234892890574],
        [0.20097175596569344, -0.11795867798090268, -1.0280388561862668]], rtol=2e-7)
    state = training.Adafactor().state_for({"p": gt.variable((4, 5)), "b": gt.variable((5,))})
    assert {slot: {path: v.shape for path, v in group.items()} for slot, group in state.items()} \
        == {"rows": {"p": (4,), "b": (5,)}, "columns": {"p": (5,), "b": ()}}


def test_radam_without_a_memory_is_momentum():
    """Then the mean square never knows enough to be divided by."""
    m, expected = 0.0, START
    found = steps(training.RAdam(beta_2=0.5), START, GRADIENTS)
    for t, (g, p) in enumerate(zip(GRADIENTS, found, strict=True), 1):
        m = 0.9 * m + 0.1 * g
        expected = expected - 0.1 * m / (1 - 0.9 ** t)
        np.testing.assert_allclose(p, expected, rtol=1e-12)


def test_nadams_momentum_product_stays_exact():
    t = gt.placeholder((), "float64", batch=False)
    found = gt.function([t], training.Nadam().product(t))
    factors = np.cumprod(1.0 - 0.5 * 0.96 ** np.arange(1.0, 501.0))
    for n in (1, 2, 10, 100, 500):
        np.testing.assert_allclose(found(np.float64(n)), factors[n - 1], rtol=1e-13)


@pytest.mark.parametrize("name", ["adagrad", "adadelta", "adamax", "nadam", "lion", "radam", "lars",
                                  "adafactor"])
def test_they_train_a_net(name):
    X = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    y = X @ np.float32([[1.0], [2.0], [-1.0]])
    rates = {"adadelta": 50.0, "lion": 0.02, "lars": 50.0}
    chosen = type(optimizer(name))(rates.get(name, 0.1))
    trainer = gt.Trainer(gt.Sequential([layers.Dense(1)]), optimizer=chosen)
    trainer.fit(X, y, epochs=1, batch_size=16, verbose=0)
    before = trainer.evaluate(X, y)["loss"]
    trainer.fit(X, y, epochs=20, batch_size=16, verbose=0)
    assert trainer.evaluate(X, y)["loss"] < 0.5 * before


def test_piecewise_factors():
    chosen = training.PiecewiseConstant((0.2, 0.6), (1.0, 0.5, 0.25))
    assert chosen.table(10) == [1.0] * 2 + [0.5] * 4 + [0.25] * 4
    assert schedule("piecewise_constant") == training.PiecewiseConstant()


def area(y, p, columns=1, weights=None):
    weights = np.ones(len(y)) if weights is None else weights
    inputs = [gt.placeholder(y.shape, "int64"), gt.placeholder((len(p), columns), "float64"),
              gt.placeholder((len(y),), "float64")]
    chosen = training.AUC(20_000)
    sums = chosen.sums(*inputs)
    found = gt.function(inputs, list(sums.values()))(y, p, weights)
    return chosen.result(dict(zip(sums, found)))


def test_the_area_is_scikit_learns():
    rng = np.random.default_rng(2)
    y, weights = rng.integers(0, 2, 300), rng.uniform(0.5, 2.0, 300)
    logits = y + rng.standard_normal(300)
    want = roc_auc_score(y, logits, sample_weight=weights)
    assert abs(area(y, logits[:, None], 1, weights) - want) < 1e-3
    pair = np.stack([np.zeros(300), logits], axis=1)
    assert abs(area(y, pair, 2, weights) - want) < 1e-3


def test_the_area_needs_both_classes_and_at_most_two_outputs():
    assert np.isnan(area(np.ones(4, int), np.zeros((4, 1))))
    with pytest.raises(ShapeError) as caught:
        area(np.zeros(4, int), np.zeros((4, 3)), 3)
    assert str(caught.value).startswith("auc needs one output, or two for a pair of classes")
    assert metric("auc") == training.AUC()


ERRORS = [
    (lambda: training.Lion(beta_1=1.0), "beta_1 must be a number in [0, 1), not 1.0"),
    (lambda: training.AUC(2), "num_thresholds must be a whole number from 3 on, not 2"),
    (lambda: training.PiecewiseConstant((0.5, 0.2)),
     "boundaries must rise in (0, 1), not (0.5, 0.2)"),
    (lambda: training.PiecewiseConstant((0.5,)), "1 boundaries need 2 factors, not 3")]


@pytest.mark.parametrize("make, text", ERRORS, ids=[text[:20] for _, text in ERRORS])
def test_error_texts(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text
