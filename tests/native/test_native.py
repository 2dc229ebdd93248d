"""The native backend against the reference: every op, whole training steps, threads, odd inputs."""
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers, testing
from gradatim.backend.errors import BackendError

try:
    NATIVE = gt.get_backend("native")
except BackendError as missing:
    if os.environ.get("GRADATIM_NATIVE") == "required":
        raise
    pytest.skip(f"the compiled core is not here: {missing}", allow_module_level=True)

CASES = [pytest.param(c, id=str(c)) for c in testing.op_cases()]


@pytest.mark.parametrize("case", CASES)
def test_op(case):
    testing.check_value(case, NATIVE, "float32")
    testing.check_value(case, NATIVE, "float64")
    testing.check_eager(case, NATIVE)
    testing.check_gradient(case, NATIVE)


@pytest.mark.parametrize("op", [o for o in gt.backend.OPS.values() if o.code],
                         ids=lambda o: o.name)
def test_special_values(op):
    for dtype in ("float32", "float64"):
        testing.check_special(op, NATIVE, dtype)


# ---- whole training steps ----------------------------------------------------------------------

def mlp():
    return [layers.Dense(37, "relu"), layers.Dense(7)]


def lenet():
    return [layers.Conv2D(13, 3, padding="same", activation="relu"), layers.MaxPooling2D(2),
            layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(2),
            layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(7)]


def normalised():
    return [layers.Conv2D(8, 3, strides=2, use_bias=False), layers.BatchNormalization(),
            layers.Activation("relu"), layers.GlobalAveragePooling2D(), layers.Dense(7)]


def recurrent():
    return [layers.LSTM(9), layers.Dense(7)]


def dropped():
    return [layers.Dense(33, "relu"), layers.Dropout(0.4), layers.LayerNormalization(),
            layers.GaussianNoise(0.1), layers.Dense(7)]


def both_ways():
    return [layers.Bidirectional(layers.GRU(6, return_sequences=True)), layers.SimpleRNN(5),
            layers.Dense(7)]


def grouped():
    return [layers.DepthwiseConv2D(3, padding="same"), layers.Conv2D(12, 3, dilation_rate=2),
            layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(7)]


NETS = {"mlp": (mlp, (11,)), "lenet": (lenet, (12, 8, 3)), "normalised": (normalised, (9, 7, 3)),
        "recurrent": (recurrent, (5, 4)), "grouped": (grouped, (9, 9, 4)),
        "dropped": (dropped, (11,)),
        "both_ways": (both_ways, (5, 4))}
WITHOUT_FALL_BACKS = tuple(NETS)


def trainer(build, shape, backend, batch, **options):
    """A trainer after one step on random data."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch, *shape)).astype("float32")
    y = rng.integers(0, 7, batch)
    model = gt.Trainer(gt.Sequential(build()),
                       layers.SparseCategoricalCrossentropy(from_logits=True), "sgd",
                       learning_rate=1.0, metrics=["accuracy"], backend=backend, **options)
    model.prepare(X)
    before = {k: v.numpy() for k, v in model.model.variables().items()}
    run = model.fit(X, y, epochs=1, batch_size=None)
    after = {k: v.numpy() for k, v in model.model.variables().items()}
    return model, run.logs, {k: after[k] - before[k] for k in after}, X


@pytest.mark.parametrize("batch", [1, 17, 64])
@pytest.mark.parametrize("name", NETS)
def test_a_training_step_is_that_of_the_reference(name, batch):
    build, shape = NETS[name]
    _, logs, changes, _ = trainer(build, shape, "native", batch)
    _, expected_logs, expected, _ = trainer(build, shape, "reference", batch)
    assert logs == pytest.approx(expected_logs, rel=1e-5, abs=1e-6)
    for path, change in changes.items():
        size = np.linalg.norm(expected[path])
        assert np.linalg.norm(change - expected[path]) <= 1e-5 * size + 1e-7, path


@pytest.mark.parametrize("name", NETS)
def test_predictions_are_those_of_the_reference(name):
    build, shape = NETS[name]
    model, _, _, X = trainer(build, shape, "native", 17)
    same, _, _, _ = trainer(build, shape, "reference", 17)
    np.testing.assert_allclose(model.predict(X), same.predict(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", WITHOUT_FALL_BACKS)
def test_nothing_is_left_to_the_reference(name):
    build, shape = NETS[name]
    model, *_ = trainer(build, shape, "native", 8)
    functions = [f for f, _ in model._functions.values()]
    assert functions and all(f.plan().fall_backs == () for f in functions)


CELLS = [("lstm", 4, 2, {}), ("gru", 3, 1, {}), ("gru", 3, 1, {"reset_after": False}),
         ("simple_rnn", 1, 1, {}), ("simple_rnn", 1, 1, {"activation": "relu"})]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name, gates, states, settings", CELLS)
def test_whole_sequences_and_their_gradients(name, gates, states, settings, reverse, padded):
    """Odd sizes, more rows than one thread takes at once; padding may hold anything."""
    batch, steps, features, units = 150, 7, 5, 37
    rng = np.random.default_rng(0)
    after = settings.get("reset_after", name == "gru")
    shapes = [(batch, steps, features), (features, gates * units), (units, gates * units),
              (2, gates * units) if after else (gates * units,)]
    arrays = [0.3 * rng.standard_normal(shape).astype("f") for shape in shapes]
    floats = [gt.placeholder(shape) for shape in shapes]
    rest = []
    if padded:
        lengths = rng.integers(0, steps + 1, batch)
        arrays[0][np.arange(steps) >= lengths[:, None]] = np.nan
        first = [gt.placeholder((batch, units)) for _ in range(states)]
        rest = [gt.placeholder((batch,), "int64"), *first]
        arrays += [lengths, *(rng.standard_normal((batch, units)).astype("f") for _ in first)]
        floats += first
    results = gt.backend.OPS[name](*floats[:4], *rest, reverse=reverse, **settings)
    weights = [rng.standard_normal(t.shape).astype("f") for t in results[:1 + states]]
    loss = sum((t * w).sum() for t, w in zip(results, weights))
    wanted = [*results, *gt.gradients(loss, floats)]
    inputs = [*floats[:4], *rest]
    f = gt.function(inputs, wanted, backend="native")
    assert f.plan().fall_backs == ()
    expected = gt.function(inputs, wanted, backend="reference")(*arrays)
    for got, right in zip(f(*arrays), expected):
        assert np.linalg.norm(got - right) <= 1e-5 * np.linalg.norm(right)


@pytest.mark.parametrize("shape", [(7, 3), (33, 5, 7), (4100, 3), (300, 256)])
def test_random_numbers_are_those_of_the_reference(shape):
    x = gt.placeholder(shape)
    counters = [gt.placeholder((), "int64") for _ in range(3)]
    wanted = [gt.random_bits(*counters, shape=shape, stream=5),
              gt.random_uniform(*counters, shape=shape, stream=5, low=-1.5, high=0.3),
              gt.dropout_mask(x, *counters, rate=0.3, stream=9),
              gt.normal_like(x, *counters, stream=4, stddev=0.2)]
    draw, expected = (gt.function([x, *counters], wanted, backend=b)
                      for b in ("native", "reference"))
    assert draw.plan().fall_backs == ()
    for numbers in ((7, 3, 2), (-2 ** 40 - 12345, 2 ** 33 + 5, 123456789)):
        arrays = np.zeros(shape, "f"), *numbers
        *same, near = zip(draw(*arrays), expected(*arrays))
        for got, right in same:
            np.testing.assert_array_equal(got, right)
        np.testing.assert_allclose(*near, atol=1e-6)


@pytest.mark.parametrize("index", [-5, 4])
@pytest.mark.parametrize("name", ["take_along", "put_along"])
def test_a_position_outside_the_axis_raises(name, index):
    x, i, v = gt.placeholder((2, 4)), gt.placeholder((2, 1), "int64"), gt.placeholder((2, 1))
    result = gt.take_along(x, i) if name == "take_along" else gt.put_along(i, v, x)
    f = gt.function([x, i, v], result, backend="native")
    with pytest.raises(IndexError, match="out of range"):
        f(np.zeros((2, 4)), np.full((2, 1), index), np.zeros((2, 1)))


def test_chains_with_broadcast_operands_beside_whole_ones():
    """Last axes that do not divide a block, and broadcasts along every axis."""
    rng = np.random.default_rng(0)
    for shape in ((9, 7, 5, 13), (70, 1, 33), (3, 1200)):
        a = rng.standard_normal(shape).astype("f")
        parts = [rng.standard_normal([n if i == axis else 1 for i, n in enumerate(shape)])
                 .astype("f") for axis in range(len(shape))]
        x, *others = (gt.placeholder(b.shape) for b in (a, *parts))
        total, expected = x, a
        for t, b in zip(others, parts):
            total, expected = total * t + t, expected * b + b
        f = gt.function([x, *others], total, backend="native")
        np.testing.assert_allclose(f(a, *parts), expected, rtol=1e-5, atol=1e-5)


def test_fall_backs_are_listed():
    x = gt.placeholder((3, 4))
    step = gt.function([x], gt.prod(x, axis=1), backend="native")
    assert step.plan().fall_backs == ("prod",)
    np.testing.assert_array_equal(step(np.full((3, 4), 2.0)), 16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_every_run(dtype):
    runs = [trainer(lenet, (12, 8, 3), "native", 64, dtype=dtype)[2] for _ in range(2)]
    for path in runs[0]:
        np.testing.assert_array_equal(runs[0][path], runs[1][path])


def test_sums_do_not_depend_on_the_number_of_threads():
    code = ("import numpy as np, gradatim as gt\n"
            "x = gt.placeholder((3001, 37))\n"
            "a = np.random.default_rng(0).standard_normal((3001, 37)).astype('f')\n"
            "f = gt.function([x], [x.sum(), x.sum(axis=0), x.sum(axis=1), gt.tanh(x).mean()],"
            " backend='native')\n"
            "print([r.tobytes().hex() for r in f(a)])")
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True, env={**os.environ, "OMP_NUM_THREADS": n}).stdout
             for n in ("1", "2", "3")}
    assert len(found) == 1


def test_threads_predicting_at_once_get_their_own_answers():
    model, _, _, X = trainer(lenet, (12, 8, 3), "native", 64)
    expected = [model.predict(X + i) for i in range(4)]
    wrong = []

    def work(i):
        for _ in range(10):
            if not np.array_equal(model.predict(X + i), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i % 4,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_row_does_not_depend_on_its_neighbours():
    model, _, _, X = trainer(lenet, (12, 8, 3), "native", 64)
    whole = model.predict(X)
    for n in (1, 3, 8, 33):
        np.testing.assert_allclose(model.predict(X[:n]), whole[:n], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape, kernel", [
    ((40, 30), (30, 16)), ((3, 9, 9, 2), (3, 3, 2, 8)), ((3, 9, 9, 16), (3, 3, 16, 16)),
    ((3, 9, 9, 6), (5, 5, 6, 8)), ((3, 9, 9, 16), (1, 1, 16, 16))])
def test_relu_of_products_keeps_nan_and_makes_zero_of_what_lies_below_all_numbers(shape, kernel):
    data = np.random.default_rng(0).standard_normal(shape).astype("f")
    data[1] = np.nan
    x, w = gt.placeholder(shape), gt.variable(np.full(kernel, 0.1, "f"))
    product = x @ w if len(shape) == 2 else gt.convolution(x, w)
    bias = np.zeros(kernel[-1:], "f")
    bias[3] = -np.inf
    y = gt.relu(product + gt.variable(bias))
    found, expected = (gt.function([x], y, backend=name)(data) for name in ("native", "reference"))
    assert np.isnan(found[1]).all() and not np.signbit(found[0]).any()
    assert (found[0][..., 3] == 0).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_inputs_that_lie_oddly():
    x = gt.placeholder((5, 6))
    f = gt.function([x], gt.relu(x @ gt.constant(np.eye(6, dtype="f"))) + 1.0, backend="native")
    a = np.arange(30, dtype="f").reshape(5, 6) - 12
    expected = f(a)
    odd = np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view("f").reshape(5, 6)
    for other in (np.asfortranarray(a), a[::-1][::-1], odd, np.repeat(a, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(f(other), expected)


def test_a_label_out_of_range_raises():
    x, y = gt.placeholder((2, 3)), gt.placeholder((2,), "int64")
    f = gt.function([x, y], gt.softmax_cross_entropy(x, y), backend="native")
    with pytest.raises(IndexError, match="number of classes, 3"):
        f(np.zeros((2, 3)), np.array([0, 3]))


def test_updates_are_simultaneous_and_old_arrays_stay():
    a, b = gt.variable(np.float32([1, 2])), gt.variable(np.float32([10, 20]))
    held = a.numpy()
    swap = gt.function([], [a, b], updates={a: b + 0.0, b: a + 0.0}, backend="native")
    before = swap()
    assert [v.tolist() for v in before] == [[1, 2], [10, 20]]
    assert a.numpy().tolist() == [10, 20] and b.numpy().tolist() == [1, 2]
    assert held.tolist() == [1, 2] and before[0].tolist() == [1, 2]


def test_elementwise_ops_of_a_users_own_are_fused():
    cube = gt.op("test_cube", forward=lambda xp, x: x * x * x, spec=gt.backend.same,
                 code="{0} * {0} * {0}", samples=gt.backend.normal((3,)))
    x = gt.placeholder((1000,))
    f = gt.function([x], gt.relu(cube(x) + 1.0), backend="native")
    a = np.linspace(-2, 2, 1000, dtype="f")
    np.testing.assert_allclose(f(a), np.maximum(a ** 3 + 1, 0), rtol=1e-6, atol=1e-6)
    assert f.plan().fall_backs == ()
    del gt.backend.OPS["test_cube"]
