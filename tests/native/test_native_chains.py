"""Elementwise chains of the native backend: compounds, results in place, updates in one step."""
import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.errors import BackendError
from gradatim.training import SGD, Adam, AdamW, RMSprop

try:
    NATIVE = gt.get_backend("native")
except BackendError as missing:
    pytest.skip(f"the compiled core is not here: {missing}", allow_module_level=True)

SHAPES = {"kernel": (130, 140), "bias": (140,), "head": (140, 3), "scale": (1,)}


def steps_of(f) -> list[str]:
    return [name for name, *_ in f.program.core.steps]


def optimizer_step(optimizer, dtype, backend):
    """Three steps of an optimizer on given gradients, and what all variables hold after them."""
    rng = np.random.default_rng(0)
    parameters = {path: gt.variable(rng.standard_normal(shape).astype(dtype), name=path)
                  for path, shape in SHAPES.items()}
    slopes = {path: gt.placeholder(shape, dtype) for path, shape in SHAPES.items()}
    slots = optimizer.state_for(parameters)
    rate, step = gt.variable(np.float64(0.1)), gt.variable(np.int64(0))
    updates = optimizer.updates(parameters, slopes, slots, rate * 1.0, step)
    f = gt.function(list(slopes.values()), [rate * 2.0], {**updates, step: step + 1},
                    backend=backend)
    for _ in range(3):
        f(*(rng.standard_normal(shape).astype(dtype) for shape in SHAPES.values()))
    assert step.numpy() == 3
    return f, [v.numpy() for v in updates]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [SGD(), SGD(0.1, 0.9), SGD(0.1, 0.9, nesterov=True),
                                       RMSprop(), Adam(), AdamW(), Adam(global_clipnorm=0.5)],
                         ids=repr)
def test_optimizers_equal_the_reference(optimizer, dtype):
    f, found = optimizer_step(optimizer, dtype, "native")
    _, expected = optimizer_step(optimizer, dtype, "reference")
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=3e-6 if dtype == "float32" else 1e-13, atol=1e-7)
    assert sum("3 tensors" in name or "4 tensors" in name for name in steps_of(f)) == 1


@pytest.mark.parametrize("expression, formula, count", [
    (lambda a, b, c: a + (b - a) * c, lambda a, b, c: a + (b - a) * c, 1),
    (lambda a, b, c: a - b / c, lambda a, b, c: a - b / c, 1),
    (lambda a, b, c: gt.sqrt(a) + b, lambda a, b, c: np.sqrt(a) + b, 1),
    (lambda a, b, c: a - b / (gt.sqrt(c) + b), lambda a, b, c: a - b / (np.sqrt(c) + b), 2),
    (lambda a, b, c: gt.where(gt.greater(a - b, 0.0), c, 0.0),
     lambda a, b, c: np.where(a > b, c, 0), 2),
    (lambda a, b, c: gt.where(gt.greater(a - b, 0.0), c, -0.0),
     lambda a, b, c: np.where(a > b, c, 0), 3),
    (lambda a, b, c: (b - a) * ((b - a) * c + a), lambda a, b, c: (b - a) * ((b - a) * c + a), 4),
    (lambda a, b, c: c + (b - a) * c, lambda a, b, c: c + (b - a) * c, 3)])
def test_compounds(expression, formula, count):
    arrays = np.random.default_rng(0).uniform(1, 2, (3, 5, 301)).astype("f")
    inputs = [gt.placeholder((5, 301)) for _ in range(3)]
    f = gt.function(inputs, expression(*inputs), backend="native", passes=())
    np.testing.assert_allclose(f(*arrays), formula(*arrays), rtol=1e-6)
    flops = max(work for _, work, _ in f.program.core.steps)
    assert flops == count * arrays[0].size


def test_a_chain_that_reads_what_another_overwrites_is_not_in_its_step():
    def run(backend):
        a, b = gt.variable(np.float32([1, 2, 3])), gt.variable(np.ones((2, 3), "f"))
        f = gt.function([], [], {b: b + a * 10.0, a: a * 2.0}, backend=backend)
        for _ in range(3):
            f()
        return a.numpy().tolist(), b.numpy().tolist()
    assert run("native") == run("reference")


def test_results_in_place_keep_what_is_still_read():
    x = gt.variable(np.arange(5000, dtype="f"))
    later = x * 2.0 + 1.0
    f = gt.function([], [later - x, x * 1.0], {x: later}, backend="native")
    old = np.arange(5000, dtype="f")
    difference, before = f()
    np.testing.assert_array_equal(difference, old + 1)
    np.testing.assert_array_equal(before, old)
    np.testing.assert_array_equal(x.numpy(), 2 * old + 1)


@pytest.mark.parametrize("n", [1, 2, 10, 31, 32, 33, 70])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_short_and_long_rows(n, smoothing):
    """Losses, their gradients and argmax; a row has the same bits in any company."""
    rows = np.random.default_rng(n)
    logits = (rows.standard_normal((37, n)) * 5).astype("f")
    labels = rows.integers(-1, n, 37)
    logits[3] = -np.inf
    logits[4, n // 2:] = np.nan
    logits[5], logits[6, 0] = 7.0, np.inf

    def made(many, backend):
        x, y = gt.placeholder((many, n)), gt.placeholder((many,), "int64")
        loss = gt.softmax_cross_entropy(x, y, label_smoothing=smoothing)
        outputs = [loss, *gt.gradients(loss.sum(), [x]), gt.argmax(x, axis=1)]
        return gt.function([x, y], outputs, backend=backend)(logits[:many], labels[:many])

    for found, expected in zip(made(37, "native"), made(37, "reference")):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
    for whole, part in zip(made(37, "native"), made(19, "native")):
        assert whole[:19].tobytes() == part.tobytes()
