"""Whole runs of the CUDA backend on its stand-in: estimators, several steps, memory, tf32, info."""
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.cuda import CudaBackend, chosen
from gradatim.backend.errors import BackendError, MemoryLimitError

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_calls import rounded_to_tf32  # noqa: E402
from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

CUDA = CudaBackend(CpuDevice())

FITS = """
import json, sys
import numpy as np
import gradatim as gt
from gradatim.info import info

rng = np.random.default_rng(0)
y = rng.integers(0, 3, 30)
data = {"DNNClassifier": ((30, 6), {"hidden_layer_sizes": (8,)}),
        "CNNClassifier": ((30, 8, 8, 1), {}),
        "RNNClassifier": ((30, 5, 3), {})}
found = {}
for name, (shape, given) in data.items():
    X = rng.standard_normal(shape).astype("f")
    model = getattr(gt, name)(**given, solver="mini_batch", batch_size=15, epochs=2, verbose=0,
                              precision="float32", random_state=0, backend=sys.argv[1]).fit(X, y)
    found[name] = model.predict_proba(X).tolist()
print(json.dumps([found, [line for line in info().splitlines() if " cuda: " in line]]))
"""


def fitted(backend, **environment):
    done = subprocess.run([sys.executable, "-c", FITS, backend], text=True, capture_output=True,
                          env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_estimators_fit_as_on_the_reference():
    found, lines = fitted("cuda", GRADATIM_CUDA="stand-in")
    expected, _ = fitted("reference")
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)
    assert lines == ["backend       cuda: cuda:0"]


def test_the_stand_in_is_not_taken_by_itself(monkeypatch):
    assert not CUDA.automatic
    monkeypatch.setenv("GRADATIM_CUDA", "stand-in")
    assert isinstance(chosen.open_device(), CpuDevice)


def test_an_unknown_device_in_the_environment(monkeypatch):
    monkeypatch.setenv("GRADATIM_CUDA", "moon")
    with pytest.raises(BackendError) as caught:
        chosen.open_device()
    assert str(caught.value) == "GRADATIM_CUDA is 'moon'\n  fix  unset it, or set it to stand-in"


def test_several_steps_are_those_of_the_reference():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 4)).astype("f"), rng.integers(0, 9, 20).astype("i4")
    rows = rng.integers(0, 20, (7, 5))
    results = []
    for backend in (CUDA, "reference"):
        w = gt.variable(np.ones((4, 9), "f"), name="w")
        x, labels = gt.placeholder((5, 4)), gt.placeholder((5,), "int64")   # wider than the table
        loss = gt.softmax_cross_entropy(x @ w, labels).mean()
        f = gt.function([x, labels], [loss, x.sum(0)], {w: w - 0.1 * gt.gradients(loss, [w])[0]},
                        backend=backend)
        results.append([*f.steps([X, y], rows), w.numpy()])
    for got, want in zip(*results):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        assert got.shape == want.shape and got.dtype == want.dtype


def test_more_steps_than_the_device_holds_at_once(monkeypatch):
    from gradatim.backend.cuda import program
    monkeypatch.setattr(program, "STAGED_BYTES", 30)
    x, total = gt.placeholder((2,)), gt.variable(0.0)
    f = gt.function([x], [total + 0.0], {total: total + x.sum()}, backend=CUDA)
    sums, = f.steps([np.float32([1, 2, 3])], np.array([[0, 1], [2, 2], [0, 0], [1, 1], [0, 2]]))
    assert list(sums) == [0, 3, 9, 11, 15] and float(total.numpy()) == 19


def test_bytes_of_the_device_are_known_before():
    x, w = gt.placeholder((64, 100)), gt.variable((100, 50))
    report = gt.function([x], gt.relu(x @ w).sum(), backend=CUDA).plan()
    assert report.device_bytes >= 4 * (64 * 100 + 100 * 50 + 64 * 50)
    assert f"device bytes    {report.device_bytes:>16,}" in str(report)
    plain = gt.function([x], x * 2.0, backend="reference").plan()
    assert plain.device_bytes == 0 and "device bytes" not in str(plain)


def test_what_does_not_fit_is_refused_before_it_runs():
    x = gt.placeholder((64, 100), name="images")
    program_bytes = gt.function([x], gt.exp(x) + 1.0, backend=CUDA).plan().device_bytes
    with pytest.raises(MemoryLimitError) as caught:
        gt.function([x], gt.exp(x) + 1.0, backend=CudaBackend(CpuDevice(memory=10_000)))
    first, largest, fix = str(caught.value).splitlines()
    assert first == (f"a run on cuda:0 would take {program_bytes:,} bytes of memory, and 10,000 "
                     "are free")
    assert largest.startswith("  largest  ") and "float32[64, 100] of 25,600 bytes" in largest
    assert fix == "  fix      take a smaller batch_size, fewer units or shorter sequences"


def test_a_trainer_is_refused_too():
    model = gt.Trainer(gt.Sequential([layers.Dense(64), layers.Dense(3)]),
                       layers.SparseCategoricalCrossentropy(from_logits=True),
                       backend=CudaBackend(CpuDevice(memory=10_000)))
    with pytest.raises(MemoryLimitError, match="^a run on cuda:0 would take"):
        model.fit(np.zeros((8, 100), "f"), np.zeros(8, int), epochs=1)


def small_steps(memory, **options):
    """Weights and losses of a net with dropout, and how its steps were planned."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((200, 30)).astype("f"), rng.integers(0, 3, 200)
    weights = rng.uniform(0.5, 2.0, 200)
    device = CpuDevice(memory=memory)
    model = gt.Trainer(gt.Sequential([layers.Dense(50, "relu"), layers.Dropout(0.3),
                                      layers.Dense(3)]),
                       layers.SparseCategoricalCrossentropy(from_logits=True), "sgd", alpha=0.01,
                       metrics=["accuracy"], backend=CudaBackend(device), **options)
    plan = model.plan(X, y, batch_size=180)
    model.fit(X, y, weights, epochs=2, batch_size=180, X_val=X[:50], y_val=y[:50])
    model.predict(X)
    return {k: v.numpy() for k, v in model.variables().items()}, model.history, plan


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"strategy": gt.DataParallel(2)}],
                         ids=["", "accumulate", "replicas"])
def test_what_does_not_fit_is_trained_in_parts(options):
    want, history, plan = small_steps(None, **options)
    assert not plan.notes
    parts, found, smaller = small_steps(plan.device_bytes * 9 // 10, **options)
    assert "parts, so that it fits in memory" in smaller.notes[0]
    assert smaller.device_bytes <= plan.device_bytes * 9 // 10
    for name, value in want.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for got, expected in zip(found, history):
        assert got == pytest.approx(expected, rel=1e-4)


def test_tf32_is_of_products_alone():
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((16, 16)).astype("f") for _ in range(2))
    x, y = gt.placeholder((16, 16)), gt.placeholder((16, 16))
    full, short = (gt.function([x, y], [x @ y, x + y], backend=CUDA, precision=p)(a, b)
                   for p in ("float32", "tf32"))
    np.testing.assert_allclose(short[0], rounded_to_tf32(a) @ rounded_to_tf32(b), rtol=1e-5)
    error = np.abs(full[0] - short[0]).max()
    assert 1e-5 < error < 1e-2
    np.testing.assert_array_equal(full[1], short[1])
    np.testing.assert_array_equal(full[1], a + b)


def test_rounding_to_tf32():
    x = np.float32([1, 1 + 2 ** -11, 1 + 3 * 2 ** -11, -1 - 2 ** -12, np.inf, np.nan, 0])
    np.testing.assert_array_equal(rounded_to_tf32(x), np.float32(
        [1, 1, 1 + 2 ** -9, -1, np.inf, np.nan, 0]))


def test_a_trainer_in_tf32():
    X = np.random.default_rng(0).standard_normal((16, 9)).astype("f")
    losses = [gt.Trainer(gt.Sequential([layers.Dense(16, "relu"), layers.Dense(3)]),
                         layers.SparseCategoricalCrossentropy(from_logits=True), "sgd",
                         backend=CUDA, precision=p).fit(X, np.arange(16) % 3, epochs=2).logs["loss"]
              for p in ("float32", "tf32")]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("backend", ["reference", CUDA], ids=["reference", "cuda"])
def test_precisions_it_has_not(backend):
    with pytest.raises(BackendError, match='has no precision "float8"'):
        gt.function([], gt.constant(1.0) + 1.0, backend=backend, precision="float8")
