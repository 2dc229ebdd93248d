"""Float64 on the native backend: kernels against the reference to 1e-12, nothing left to it."""
import os
import subprocess
import sys

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import BackendError

try:
    gt.get_backend("native")
except BackendError as missing:
    pytest.skip(f"the compiled core is not here: {missing}", allow_module_level=True)

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.standard_normal(shape)


def check(inputs, results, arrays, differentiate=None):
    """Results and their gradients are the reference's, and all are computed by the core."""
    weights = [gt.constant(normal(*t.shape)) for t in results]
    loss = sum((t * w).sum() for t, w in zip(results, weights))
    wanted = [*results, *gt.gradients(loss, differentiate or inputs)]
    f = gt.function(inputs, wanted, backend="native")
    assert f.plan().fall_backs == ()
    expected = gt.function(inputs, wanted, backend="reference")(*arrays)
    for got, right in zip(f(*arrays), expected, strict=True):
        assert got.dtype == right.dtype == np.float64
        assert np.linalg.norm(got - right) <= 1e-12 * np.linalg.norm(right)


def placeholders(*arrays):
    return [gt.placeholder(a.shape, a.dtype.name) for a in arrays]


# ---- products ----------------------------------------------------------------------------------

PRODUCTS = [((1, 1), (1, 1)), ((5, 3), (3, 2)), ((17, 33), (33, 9)), ((200, 10), (10, 64)),
            ((37, 64), (64, 256)), ((3, 2500), (2500, 40)), ((130, 2100), (2100, 17)),
            ((4, 6, 5), (5, 7)), ((3, 6, 5), (3, 5, 7)), ((2, 1, 6, 5), (2, 3, 5, 19)),
            ((6, 5), (3, 5, 7))]


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)],
                         ids=str)
@pytest.mark.parametrize("first, second", PRODUCTS, ids=str)
def test_products(first, second, turned):
    a, b = normal(*first), normal(*second)
    a, b = (np.ascontiguousarray(np.swapaxes(m, -1, -2)) if t else m
            for m, t in zip((a, b), turned))
    x, y = placeholders(a, b)
    check([x, y], [gt.matmul(x, y, transpose_x=turned[0], transpose_y=turned[1])], [a, b])


@pytest.mark.parametrize("units", [1, 8, 13, 48])
def test_products_with_bias_and_relu(units):
    a, b, c = normal(33, 7), normal(7, units), normal(units)
    x, y, z = placeholders(a, b, c)
    check([x, y, z], [gt.relu(x @ y + z)], [a, b, c])
    f = gt.function([x, y, z], gt.relu(x @ y + z), backend="native")
    a[3, 2] = np.nan
    assert np.isnan(f(a, b, c)[3]).all() and np.isfinite(f(a, b, c)[4]).all()


# ---- convolution and pooling -------------------------------------------------------------------

CONVOLUTIONS = [
    ((200, 10, 1), (3, 1, 16), {"padding": "same"}),
    ((70, 5, 16), (3, 16, 32), {"padding": "same"}),
    ((3, 30, 4), (5, 4, 9), {"padding": "causal", "dilation": 2}),
    ((4, 9, 8, 3), (3, 3, 3, 13), {"padding": "same"}),
    ((4, 9, 8, 3), (3, 2, 3, 20), {"strides": (2, 3)}),
    ((2, 11, 9, 4), (3, 3, 4, 5), {"dilation": (2, 1), "padding": "same"}),
    ((2, 9, 7, 6), (3, 3, 2, 9), {"groups": 3, "padding": "same", "strides": 2}),
    ((2, 9, 7, 6), (3, 3, 1, 6), {"groups": 6, "padding": "same"}),
    ((3, 8, 7, 4), (3, 3, 1, 12), {"groups": 4, "strides": 2, "padding": ((2, 0), (1, 3))}),
    ((20, 12, 12, 16), (3, 3, 16, 24), {"padding": "same"}),
]


@pytest.mark.parametrize("shape, window, settings", CONVOLUTIONS, ids=str)
def test_convolutions(shape, window, settings):
    arrays = normal(*shape), normal(*window)
    x, kernel = placeholders(*arrays)
    check([x, kernel], [gt.convolution(x, kernel, **settings)], arrays)


@pytest.mark.parametrize("size, settings", [
    (2, {}), (3, {"strides": 2, "padding": "same"}), ((2, 3), {"strides": (1, 2)})], ids=str)
@pytest.mark.parametrize("name", ["max_pool", "average_pool"])
def test_pooling(name, size, settings):
    a = normal(5, 8, 9, 11)
    x, = placeholders(a)
    result = gt.backend.OPS[name](x, pool_size=size, **settings)
    check([x], [result[0] if name == "max_pool" else result], [a])


def test_rows_added_at_their_places():
    rows, table = np.array([3, 0, 3, -1, 2]), normal(5, 33)
    i, x = gt.placeholder((5,), "int64"), gt.placeholder((5, 33), "float64")
    check([i, x], [gt.gather(x, i)], [rows, table], [x])


# ---- recurrence --------------------------------------------------------------------------------

CELLS = [("lstm", 4, 2, {}), ("gru", 3, 1, {}), ("gru", 3, 1, {"reset_after": False}),
         ("simple_rnn", 1, 1, {}), ("simple_rnn", 1, 1, {"activation": "relu"}),
         ("simple_rnn", 1, 1, {"activation": "sigmoid"})]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name, gates, states, settings", CELLS)
def test_recurrence(name, gates, states, settings, reverse, padded):
    batch, steps, features, units = 150, 7, 5, 37
    after = settings.get("reset_after", name == "gru")
    arrays = [normal(batch, steps, features), 0.3 * normal(features, gates * units),
              0.3 * normal(units, gates * units),
              normal(*((2,) if after else ()), gates * units)]
    if padded:
        lengths = RANDOM.integers(0, steps + 1, batch)
        arrays[0][np.arange(steps) >= lengths[:, None]] = np.nan
        arrays += [lengths, *(normal(batch, units) for _ in range(states))]
    inputs = placeholders(*arrays)
    results = gt.backend.OPS[name](*inputs, reverse=reverse, **settings)
    check(inputs, list(results[:1 + states]), arrays, inputs[:4] + inputs[5:])


# ---- what the estimators run -------------------------------------------------------------------

X = normal(200, 10)
LABELS = RANDOM.integers(0, 2, 200)
SEQUENCES = [normal(3 + i % 5, 2) for i in range(200)]
ESTIMATORS = {
    "LinearClassifier": (X, LABELS, {}),
    "DNNClassifier": (X, LABELS, {}), "DNNRegressor": (X, X[:, 0], {}),
    "CNNClassifier": (X, LABELS, {}), "CNNRegressor": (X, X[:, 0], {}),
    "RNNClassifier": (X, LABELS, {}), "RNNRegressor": (X, X[:, 0], {}),
    "NetworkClassifier": (X, LABELS, {}), "NetworkRegressor": (X, X[:, 0], {}),
    "WideAndDeepClassifier": (X, LABELS, {}), "WideAndDeepRegressor": (X, X[:, 0], {}),
}
OTHERS = [("CNNClassifier", (normal(40, 8, 8), LABELS[:40], {})),
          ("CNNClassifier", (normal(20, 16, 16), LABELS[:20], {})),
          ("CNNClassifier", (normal(20, 8, 8), LABELS[:20], {"architecture": "lenet"})),
          ("CNNClassifier", (normal(4, 8, 8), LABELS[:4], {"architecture": "resnet20"})),
          ("RNNClassifier", (SEQUENCES, LABELS, {"cell": "gru", "dropout": 0.2})),
          ("RNNRegressor", (SEQUENCES, X[:, 0], {"cell": "rnn", "bidirectional": True})),
          ("DNNClassifier", (X, LABELS, {"label_smoothing": 0.1, "sampling": "balanced"})),
          *(("DNNRegressor", (X, np.abs(X[:, 0]), {"loss": loss}))
            for loss in ("quantile", "poisson", "tweedie", "gaussian"))]


@pytest.mark.parametrize("name, case", [*ESTIMATORS.items(), *OTHERS],
                         ids=lambda v: v if isinstance(v, str) else str(v[2] or ""))
def test_nothing_of_a_full_batch_is_left_to_the_reference(name, case):
    samples, targets, settings = case
    net = getattr(gt, name)(backend="native", epochs=1, **settings).fit(samples, targets)
    net.predict(samples)
    programs = [f for f, _ in net._fitted.live(net)._functions.values()]
    assert programs and all(f.plan().fall_backs == () for f in programs)
    kinds = {v.dtype.name for f in programs for v in f.graph.variables}
    assert "float64" in kinds and "float32" not in kinds


def test_every_estimator_of_arrays_is_listed():
    nets = {name for name in gt.estimators.__all__ if name.endswith(("Classifier", "Regressor"))}
    stepless = {"LinearRegressor", "BaselineClassifier", "BaselineRegressor"}   # they take no steps
    assert nets - stepless == set(ESTIMATORS)


# ---- bits --------------------------------------------------------------------------------------

def nets():
    return {"dense": ([layers.Dense(37, "relu"), layers.Dense(3)], (1100,)),
            "images": ([layers.Conv2D(13, 3, padding="same", activation="relu"),
                        layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(5)], (9, 7, 3)),
            "sequences": ([layers.LSTM(21, return_sequences=True), layers.GRU(9)], (6, 4))}


@pytest.mark.parametrize("name", nets())
def test_a_rows_bits_do_not_depend_on_its_neighbours(name):
    net, shape = nets()[name]
    rows = normal(67, *shape)
    trainer = gt.Trainer(gt.Sequential(net), "mse", backend="native", dtype="float64")
    trainer.prepare(rows)
    whole = trainer.predict(rows)
    for n in (1, 2, 9, 33):
        np.testing.assert_array_equal(trainer.predict(rows[n:2 * n]), whole[n:2 * n])


def test_bits_do_not_depend_on_the_number_of_threads():
    code = ("import numpy as np, gradatim as gt\n"
            "r = np.random.default_rng(0)\n"
            "nets = gt.CNNClassifier, gt.RNNClassifier, gt.DNNRegressor\n"
            "X, y = r.standard_normal((200, 10)), r.integers(0, 2, 200)\n"
            "for net in nets:\n"
            "    p = net(backend='native', epochs=2, random_state=0).fit(X, y).predict(X[:9])\n"
            "    print(np.asarray(p, float).tobytes().hex())\n"
            "    p = net(backend='native', epochs=2, random_state=0).fit(X, y).history_\n"
            "    print(str(p))")
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True, env={**os.environ, "OMP_NUM_THREADS": n}).stdout
             for n in ("1", "2", "3")}
    assert len(found) == 1
