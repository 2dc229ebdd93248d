"""Prediction by the native backend: what is kept of the weights, and rows without neighbours."""
import gc
import os
import runpy
import threading
from pathlib import Path

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.errors import BackendError

try:
    NATIVE = gt.get_backend("native")
except BackendError as missing:
    if os.environ.get("GRADATIM_NATIVE") == "required":
        raise
    pytest.skip(f"the compiled core is not here: {missing}", allow_module_level=True)

HUNT = runpy.run_path(str(Path(__file__).with_name("hunt_neighbours.py")))
NETS, hunt = HUNT["NETS"], HUNT["hunt"]


def convolution_of_scaled_kernel():
    """A function, its kernel and scale, and data: two weights meet before the image does."""
    rng = np.random.default_rng(0)
    kernel = gt.variable(rng.standard_normal((3, 3, 5, 7)).astype("f"), name="kernel")
    scale = gt.variable(rng.standard_normal(7).astype("f"), name="scale")
    x = gt.placeholder((2, 6, 6, 5))
    y = gt.relu(gt.convolution(x, kernel * scale) + scale * 2.0)
    data = rng.standard_normal(x.shape).astype("f")
    arrays = {b: gt.function([x], y, backend=b) for b in ("native", "reference")}
    return arrays["native"], arrays["reference"], kernel, scale, data


def test_what_depends_on_the_weights_alone_is_computed_once():
    compute, _, *_, data = convolution_of_scaled_kernel()
    core = compute.program.core
    assert {"multiply", "reorder"} <= set(core.once_steps)
    assert [name for name, *_ in core.steps] == ["convolution"]
    made, prepare = [], compute.program._prepared.store
    compute.program._prepared.store = lambda *a: (made.append(a), prepare(*a))
    compute.program._prepared._entries = ()
    first = compute(data)
    assert np.array_equal(first, compute(data)) and len(made) == 1


def test_training_computes_it_in_every_step():
    w, x = gt.variable((3, 2)), gt.placeholder((4, 3))
    step = gt.function([x], (x @ (w * 2.0)).sum(), {w: w + 1.0}, backend="native")
    assert step.program.core.once_steps == []
    ones = np.ones((4, 3), "f")
    assert [float(step(ones)) for _ in range(3)] == [0.0, 48.0, 96.0]


CHANGES = {
    "assign": lambda v, new: v.assign(new),
    "storage": lambda v, new: setattr(v, "storage", new),
    "update": lambda v, new: gt.function([], [], {v: gt.constant(new)}, backend="native")(),
    "update in place": lambda v, new: gt.function(
        [], [], {v: v * 0.0 + gt.constant(new)}, backend="native")(),
    "reference": lambda v, new: gt.function([], [], {v: gt.constant(new)},
                                            backend="reference")(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights_are_seen(change):
    compute, reference, kernel, scale, data = convolution_of_scaled_kernel()
    for v in (kernel, scale, kernel):
        before = compute(data)
        new = (v.numpy() * 1.5 + 0.25).astype("f")
        change(v, new)
        assert np.allclose(v.numpy(), new)
        after = compute(data)
        assert not np.allclose(before, after)
        np.testing.assert_allclose(after, reference(data), rtol=1e-5, atol=1e-5)


def test_a_weight_cannot_be_changed_behind_the_programs_back():
    compute, _, kernel, _, data = convolution_of_scaled_kernel()
    step = gt.function([], [], {kernel: kernel * 1.0 + 0.0}, backend="native")
    for prepare in (compute, lambda _: step()):
        prepare(data)
        with pytest.raises(ValueError, match="read-only"):
            kernel.storage[0] = 1.0
        with pytest.raises(ValueError, match="read-only"):
            kernel.storage.reshape(-1)[0] = 1.0
    array = kernel.numpy() + 1.0
    kernel.storage = array
    before = compute(data)
    array[...] = 7.0                       # the caller's own array is not the weight
    assert np.array_equal(before, compute(data))


def test_arrays_that_may_change_are_read_at_each_call():
    compute, _, kernel, scale, data = convolution_of_scaled_kernel()
    run = lambda *state: compute.program.run(list(state), [data])[0]
    kernel, scale = kernel.numpy(), scale.numpy()
    order = [v.name for v in compute.graph.variables]
    state = [{"kernel": kernel, "scale": scale}[name] for name in order]
    first = run(*state)
    for array in state:                    # written to in place
        array *= 2.0
        assert not np.array_equal(first, run(*state))
        array /= 2.0
    views = [a.view() for a in state]
    for view in views:
        view.flags.writeable = False       # read-only, but their memory is not
    assert np.array_equal(first, run(*views))
    scale *= 2.0
    assert not np.array_equal(first, run(*views))


def test_training_goes_on_in_a_copy_of_a_snapshot():
    v, x = gt.variable((100,), name="v"), gt.placeholder((100,))
    step = gt.function([x], [], {v: v + x}, backend="native")
    read = gt.function([x], x + v * 2.0, backend="native")
    ones, zeros = np.ones(100, "f"), np.zeros(100, "f")
    step(ones)
    held = v.memory()
    step(ones)
    assert v.memory() is held              # in place
    assert read(zeros)[0] == 4.0 and v.memory() is held
    step(ones)
    assert v.memory() is not held and held[0] == 2.0
    assert read(zeros)[0] == 6.0


def test_models_that_share_a_program_keep_their_own_weights():
    made = [convolution_of_scaled_kernel() for _ in range(12)]
    program = made[0][0].program
    assert all(m[0].program is program for m in made)
    for i, (_, _, kernel, *_) in enumerate(made):
        kernel.assign(kernel.numpy() * (i + 1))
    expected = [m[1](m[4]) for m in made]
    for turn in range(2):
        for (compute, *_, data), want in zip(made, expected):
            np.testing.assert_allclose(compute(data), want, rtol=1e-4, atol=1e-4)
    entries = program._prepared._entries
    assert 0 < len(entries) <= 8
    compute, data = made[0][0], made[0][4]
    del made, kernel
    gc.collect()
    compute(data)


def test_threads_predict_while_the_weights_are_replaced():
    compute, reference, kernel, _, data = convolution_of_scaled_kernel()
    start = kernel.numpy()
    allowed = []
    for factor in (1, 2, 3):
        kernel.assign(start * factor)
        allowed.append(compute(data))
    wrong, stop = [], threading.Event()

    def predict():
        while not stop.is_set():
            out = compute(data)
            if not any(np.array_equal(out, a) for a in allowed):
                wrong.append(out)

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for t in threads:
        t.start()
    for i in range(60):
        kernel.assign(start * (i % 3 + 1))
    stop.set()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size, strides, channels", [(2, 2, 16), (3, 2, 5), (2, 1, 33), (4, 4, 1)])
def test_pooling_without_indices_is_that_with_them(size, strides, channels, padding):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((3, 9, 11, channels)).astype("f")
    data[rng.random(data.shape) < 0.05] = np.nan
    data[rng.random(data.shape) < 0.05] = -np.inf
    data[rng.random(data.shape) < 0.05] = -0.0
    x = gt.placeholder(data.shape)
    settings = {"pool_size": size, "strides": strides, "padding": padding}
    pooled, indices = gt.max_pool(x, **settings)
    alone = gt.function([x], pooled, backend="native")
    both = gt.function([x], [pooled, indices], backend="native")
    expected = gt.function([x], pooled, backend="reference")(data)
    activated = gt.function([x], gt.relu(pooled), backend="native")
    assert [name for name, *_ in activated.program.core.steps] == ["max_pool"]
    np.testing.assert_array_equal(activated(data), np.maximum(expected, 0))
    for found in (alone(data), both(data)[0]):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found[found == 0]),
                                      np.signbit(expected[found == 0]))


@pytest.mark.parametrize("name", NETS)
def test_a_row_does_not_depend_on_its_neighbours(name):
    assert hunt(name, (1, 2, 3, 5, 8, 13, 16, 17, 31, 40)) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_nor_on_the_number_of_threads(threads):
    before = NATIVE.core.set_threads(threads)
    try:
        assert hunt("winograd", (1, 4, 40)) == [] == hunt("long sums", (1, 4, 40))
    finally:
        NATIVE.core.set_threads(before)
