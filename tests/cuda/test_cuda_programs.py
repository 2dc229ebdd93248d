"""Whole training steps on the CUDA backend's stand-in equal the reference, by own kernels only."""
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.cuda import CudaBackend, arena

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

CUDA = CudaBackend(CpuDevice())
LIBRARIES = CudaBackend(CpuDevice(libraries=True))


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
        "dropped": (dropped, (11,)), "both_ways": (both_ways, (5, 4))}


def trainer(name, backend, batch, optimizer="adam", **options):
    """A trainer after one step on random data, what it logged, and how the weights changed."""
    build, shape = NETS[name]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch, *shape)).astype("float32")
    y = rng.integers(0, 7, batch)
    model = gt.Trainer(gt.Sequential(build()),
                       layers.SparseCategoricalCrossentropy(from_logits=True), optimizer,
                       metrics=["accuracy"], backend=backend, **options)
    model.prepare(X)
    before = {k: v.numpy() for k, v in model.model.variables().items()}
    run = model.fit(X, y, epochs=1, batch_size=None)
    after = {k: v.numpy() for k, v in model.model.variables().items()}
    return model, run.logs, {k: after[k] - before[k] for k in after}, X


def compare(name, batch, backend):
    """One step equals the reference's; so do predictions after it; nothing falls back."""
    model, logs, changes, X = trainer(name, backend, batch, "sgd", learning_rate=1.0)
    same, expected_logs, expected, _ = trainer(name, "reference", batch, "sgd", learning_rate=1.0)
    assert logs == pytest.approx(expected_logs, rel=1e-5, abs=1e-6)
    for path, change in changes.items():
        size = np.linalg.norm(expected[path])
        assert np.linalg.norm(change - expected[path]) <= 1e-5 * size + 1e-7, path
    np.testing.assert_allclose(model.predict(X), same.predict(X), rtol=1e-4, atol=1e-5)
    functions = [f for f, _ in model._functions.values()]
    assert functions and all(f.plan().fall_backs == () for f in functions)


@pytest.mark.parametrize("seed", range(5))
def test_values_that_live_at_once_share_no_byte_of_the_arena(seed):
    rng = np.random.default_rng(seed)
    sizes = {i: int(n) for i, n in enumerate(rng.integers(0, 3000, 40))}
    first = {i: int(t) for i, t in enumerate(rng.integers(0, 50, 40))}
    last = {i: t + int(n) for (i, t), n in zip(first.items(), rng.integers(0, 12, 40))}
    offsets, total = arena.plan(sizes, first, last)
    end = {i: offsets[i] + arena.aligned(sizes[i]) for i in sizes}
    assert all(offset % 256 == 0 and end[i] <= total for i, offset in offsets.items())
    for i, j in combinations(sizes, 2):
        if first[i] <= last[j] and first[j] <= last[i]:
            assert end[i] <= offsets[j] or end[j] <= offsets[i]
    most = max(sum(arena.aligned(sizes[i]) for i in sizes if first[i] <= t <= last[i])
               for t in range(62))
    assert most <= total < 1.5 * most < sum(map(arena.aligned, sizes.values()))


@pytest.mark.parametrize("batch", [1, 17])
@pytest.mark.parametrize("name", NETS)
def test_a_training_step_is_that_of_the_reference(name, batch):
    compare(name, batch, CUDA)


@pytest.mark.parametrize("name", ["lenet", "grouped", "recurrent", "both_ways"])
def test_a_library_in_the_place_of_kernels(name):
    compare(name, 5, LIBRARIES)


@pytest.mark.parametrize("name", NETS)
def test_every_order_of_threads_gives_the_same_bits(name):
    found = []
    for schedule in (0, 1, 12345):
        device = CpuDevice()
        device.schedule = schedule
        found.append(trainer(name, CudaBackend(device), 9)[2])
    for path, change in found[0].items():
        for other in found[1:]:
            np.testing.assert_array_equal(change, other[path], err_msg=path)


@pytest.mark.parametrize("words, found", [(["net:mlp", "softmax"], False),
                                          (["planted"], True)])
def test_nothing_is_read_or_written_outside(words, found):
    """A short form of ``tests/cuda/sanitize_cuda.py``, which runs all ops and nets."""
    script = Path(__file__).with_name("sanitize_cuda.py")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
    if "libasan" in done.stderr and "cannot be preloaded" in done.stderr:
        pytest.skip("the compiler has no AddressSanitizer")
    assert (done.returncode != 0) == found, done.stderr[-3000:]
    assert ("AddressSanitizer: use-after-poison" in done.stderr) == found
