"""Optimizers: Keras's formulas in NumPy on identical gradients, slots, and the texts of errors."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import training
from gradatim.backend.errors import ParameterError, UnknownNameError
from gradatim.training.optimizers import global_norm, optimizer

RNG = np.random.default_rng(0)
SHAPES = {"dense/kernel": (4, 3), "dense/bias": (3,)}
START = {path: RNG.standard_normal(shape) for path, shape in SHAPES.items()}
GRADIENTS = [{path: RNG.standard_normal(shape) for path, shape in SHAPES.items()}
             for _ in range(5)]
RATES = [0.1, 0.05, 0.2, 0.1, 0.01]


def sgd(w, g, s, rate, t, momentum=0.0, nesterov=False):
    if not momentum:
        return w - rate * g
    s["v"] = momentum * s.get("v", 0.0) - rate * g
    return w + (momentum * s["v"] - rate * g if nesterov else s["v"])


def rmsprop(w, g, s, rate, t, rho=0.9, epsilon=1e-7, momentum=0.0, centered=False):
    s["v"] = rho * s.get("v", 0.0) + (1 - rho) * g ** 2
    s["a"] = rho * s.get("a", 0.0) + (1 - rho) * g
    spread = s["v"] - s["a"] ** 2 if centered else s["v"]
    s["step"] = momentum * s.get("step", 0.0) + rate * g / np.sqrt(spread + epsilon)
    return w - s["step"]


def adam(w, g, s, rate, t, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False):
    s["m"] = beta_1 * s.get("m", 0.0) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", 0.0) + (1 - beta_2) * g ** 2
    alpha = rate * np.sqrt(1 - beta_2 ** t) / (1 - beta_1 ** t)
    s["top"] = np.maximum(s.get("top", 0.0), s["v"])
    return w - alpha * s["m"] / (np.sqrt(s["top"] if amsgrad else s["v"]) + epsilon)


def lamb(w, g, s, rate, t):
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g ** 2
    step = s["m"] / (1 - 0.9 ** t) / (np.sqrt(s["v"] / (1 - 0.999 ** t)) + 1e-7)
    return w - rate * np.linalg.norm(w) / np.linalg.norm(step) * step


def ftrl(w, g, s, rate, t, power=-0.5, l1=0.0, l2=0.0, shrink=0.0, beta=0.0):
    before = s.get("n", 0.1)
    s["n"] = before + g ** 2
    s["z"] = s.get("z", 0.0) + g + 2 * shrink * w - (
        s["n"] ** -power - before ** -power) / rate * w
    quadratic = s["n"] ** -power / rate + 2 * (l2 + beta / (2 * rate))
    return (np.clip(s["z"], -l1, l1) - s["z"]) / quadratic


CUT = {"value": lambda g, c: np.clip(g, -c, c),
       "norm": lambda g, c: g * c / max(np.linalg.norm(g), c)}


def in_numpy(formula, decay=0.0, clip=None, cut=None, **settings):
    weights, slots = dict(START), {path: {} for path in START}
    for t, (gradients, rate) in enumerate(zip(GRADIENTS, RATES), 1):
        norm = np.sqrt(sum((g ** 2).sum() for g in gradients.values()))
        factor = 1.0 if clip is None else clip / max(norm, clip)
        for path, g in gradients.items():
            w = weights[path] * (1.0 - decay * rate)
            g = CUT[cut[0]](g, cut[1]) if cut else g
            weights[path] = formula(w, g * factor, slots[path], rate, t, **settings)
    return weights


def in_graph(chosen, dtype="float64"):
    parameters = {path: gt.variable(w.astype(dtype), name=path) for path, w in START.items()}
    feeds = {path: gt.placeholder(s, dtype, path, batch=False) for path, s in SHAPES.items()}
    rate, step = gt.placeholder((), "float64", "rate"), gt.variable(np.int64(0))
    state = chosen.state_for(parameters)
    updates = chosen.updates(parameters, feeds, state, rate, step)
    train = gt.function([*feeds.values(), rate], rate, updates={**updates, step: step + 1})
    for gradients, r in zip(GRADIENTS, RATES):
        train(*(g.astype(dtype) for g in gradients.values()), np.float64(r))
    return {path: p.numpy() for path, p in parameters.items()}


CASES = [
    (training.SGD(), (sgd, {})),
    (training.SGD(momentum=0.9), (sgd, dict(momentum=0.9))),
    (training.SGD(momentum=0.8, nesterov=True), (sgd, dict(momentum=0.8, nesterov=True))),
    (training.SGD(momentum=0.9, weight_decay=0.1), (sgd, dict(momentum=0.9, decay=0.1))),
    (training.SGD(global_clipnorm=1.5), (sgd, dict(clip=1.5))),
    (training.RMSprop(), (rmsprop, {})),
    (training.RMSprop(rho=0.5, epsilon=1e-3), (rmsprop, dict(rho=0.5, epsilon=1e-3))),
    (training.Adam(), (adam, {})),
    (training.Adam(beta_1=0.5, beta_2=0.9, epsilon=0.1),
     (adam, dict(beta_1=0.5, beta_2=0.9, epsilon=0.1))),
    (training.Adam(global_clipnorm=0.3, weight_decay=0.01), (adam, dict(clip=0.3, decay=0.01))),
    (training.Adam(global_clipnorm=1e6), (adam, {})),
    (training.AdamW(), (adam, dict(decay=0.004))),
    (training.SGD(clipnorm=0.7), (sgd, dict(cut=("norm", 0.7)))),
    (training.RMSprop(clipvalue=0.2), (rmsprop, dict(cut=("value", 0.2)))),
    (training.Adam(clipnorm=0.7, weight_decay=0.1), (adam, dict(cut=("norm", 0.7), decay=0.1))),
    (training.RMSprop(momentum=0.8), (rmsprop, dict(momentum=0.8))),
    (training.RMSprop(centered=True), (rmsprop, dict(centered=True))),
    (training.RMSprop(0.1, 0.8, momentum=0.5, centered=True),
     (rmsprop, dict(rho=0.8, momentum=0.5, centered=True))),
    (training.Adam(beta_2=0.5, amsgrad=True), (adam, dict(beta_2=0.5, amsgrad=True))),
    (training.AdamW(beta_2=0.5, amsgrad=True), (adam, dict(beta_2=0.5, amsgrad=True, decay=0.004))),
    (training.Lamb(), (lamb, {})),
    (training.Lamb(weight_decay=0.1, clipvalue=0.5), (lamb, dict(decay=0.1, cut=("value", 0.5)))),
    (training.Ftrl(), (ftrl, {})),
    (training.Ftrl(0.1, -0.7, 0.1, 0.05, 0.02, 0.03, 0.4),
     (ftrl, dict(power=-0.7, l1=0.05, l2=0.02, shrink=0.03, beta=0.4))),
]


@pytest.mark.parametrize("chosen, formula", CASES, ids=[repr(c) for c, _ in CASES])
def test_five_steps_are_kerass(chosen, formula):
    expected = in_numpy(formula[0], **formula[1])
    for path, w in in_graph(chosen).items():
        np.testing.assert_allclose(w, expected[path], rtol=0, atol=1e-10)


def test_float32_parameters_stay_float32_and_near():
    expected = in_numpy(adam)
    for path, w in in_graph(training.Adam(), "float32").items():
        assert w.dtype == np.float32
        np.testing.assert_allclose(w, expected[path], atol=1e-5)


def test_the_bias_correction_is_exact_in_float32():
    p = gt.variable(np.zeros(1, np.float32), name="p")
    chosen = training.Adam(epsilon=0.0)
    state = chosen.state_for({"p": p})
    g = gt.constant(np.float32([3.0]))
    rate = gt.constant(np.float64(0.01))
    updates = chosen.updates({"p": p}, {"p": g}, state, rate, gt.constant(np.int64(0)))
    (value,) = gt.run([updates[p]])
    np.testing.assert_allclose(value, -0.01, rtol=3e-7)    # the first step is the rate


SLOTS = [("sgd", []), (training.SGD(momentum=0.5), ["sgd/velocity/"]),
         ("rmsprop", ["rmsprop/mean_square/"]), ("adam", ["adam/m/", "adam/v/"]),
         ("adamw", ["adamw/m/", "adamw/v/"]), ("lamb", ["lamb/m/", "lamb/v/"]),
         (training.Adam(amsgrad=True), ["adam/m/", "adam/v/", "adam/v_hat/"]),
         (training.RMSprop(momentum=0.5, centered=True),
          ["rmsprop/mean_square/", "rmsprop/mean/", "rmsprop/velocity/"])]


@pytest.mark.parametrize("name, prefixes", SLOTS)
def test_slot_names(name, prefixes):
    parameters = {path: gt.variable(w, name=path) for path, w in START.items()}
    state = optimizer(name).state_for(parameters)
    names = {v.name for group in state.values() for v in group.values()}
    assert names == {prefix + path for prefix in prefixes for path in START}
    assert all(not v.trainable and v.shape == SHAPES[path] and not v.numpy().any()
               for group in state.values() for path, v in group.items())


def test_scalar_work_does_not_grow_with_parameters():
    def powers(count):
        parameters = {str(i): gt.variable(np.zeros(2), name=str(i)) for i in range(count)}
        chosen = training.Adam()
        updates = chosen.updates(parameters, dict(parameters), chosen.state_for(parameters),
                                 gt.constant(np.float64(1.0)), gt.variable(np.int64(0)))
        graph = gt.graph(*updates.values())
        return [n.op.name for n in graph.steps].count("power")
    assert powers(1) == powers(5) == 2


def test_global_norm():
    total = global_norm({path: gt.constant(w) for path, w in START.items()})
    expected = np.sqrt(sum((w ** 2).sum() for w in START.values()))
    np.testing.assert_allclose(gt.run(total), expected, rtol=1e-14)


ERRORS = [
    (lambda: training.SGD(-1.0), "learning_rate must be a finite number from 0 on, not -1.0"),
    (lambda: training.Adam(float("nan")),
     "learning_rate must be a finite number from 0 on, not nan"),
    (lambda: training.Adam("fast"), "learning_rate must be a finite number from 0 on, not 'fast'"),
    (lambda: training.SGD(momentum=1.0), "momentum must be a number in [0, 1), not 1.0"),
    (lambda: training.RMSprop(rho=-0.1), "rho must be a number in [0, 1), not -0.1"),
    (lambda: training.Adam(beta_2=2), "beta_2 must be a number in [0, 1), not 2"),
    (lambda: training.AdamW(weight_decay=-1),
     "weight_decay must be a finite number from 0 on, not -1"),
    (lambda: training.SGD(global_clipnorm=0),
     "global_clipnorm must be larger than 0: nothing would be learned\n  fix  leave it None"),
    (lambda: training.Adam(clipnorm=-1), "clipnorm must be a finite number from 0 on, not -1"),
    (lambda: training.SGD(clipvalue=0),
     "clipvalue must be larger than 0: nothing would be learned\n  fix  leave it None"),
    (lambda: training.Lion(clipnorm=1.0, clipvalue=0.5),
     "clipnorm and clipvalue cannot both cut gradients\n  fix  leave clipvalue out"),
    (lambda: training.Adam(amsgrad=1), "amsgrad must be True or False, not 1"),
    (lambda: training.Ftrl(learning_rate_power=0.5),
     "learning_rate_power must be at most 0, not 0.5"),
    (lambda: optimizer(3), "an optimizer is a name or an Optimizer, not 3"),
]


@pytest.mark.parametrize("make, text", ERRORS, ids=[text[:20] for _, text in ERRORS])
def test_error_texts(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text


def test_unknown_names_get_the_nearest():
    with pytest.raises(UnknownNameError) as caught:
        optimizer("adan")
    assert str(caught.value) == 'there is no optimizer "adan"\n  fix  did you mean "adam"?'


def test_optimizers_are_values():
    assert training.Adam(0.1) == training.Adam(0.1) != training.Adam(0.2)
    assert training.Adam() != training.AdamW(weight_decay=0.0)
    assert repr(training.SGD(0.1, momentum=0.9)) == "SGD(learning_rate=0.1, momentum=0.9)"
