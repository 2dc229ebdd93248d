"""bfloat16 and float16 on the CUDA stand-in: two bytes in memory, rounded weights kept, scales."""
import runpy
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.cuda import CudaBackend
from gradatim.backend.cuda.cuda_device import CudaDevice
from gradatim.backend.cuda.cudnn_convolution import OPERATIONS
from gradatim.backend.cuda.device import Call, Launch

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

BACKEND = Path(__file__).parents[1] / "backend"
SHARED = runpy.run_path(str(BACKEND / "test_bfloat16.py"))
NETS, trained, distance, drawn = (SHARED[n] for n in ("NETS", "trained", "distance", "drawn"))
CUDA = CudaBackend(CpuDevice())
KINDS = ("bfloat16", "float16")


def program_of(trainer):
    return next(iter(trainer._functions.values()))[0].program


def products(program):
    return [s for s in program.steps if isinstance(s, Call) and s.name == "matmul"]


# ---- what lies in memory -----------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_two_bytes_comes_back(kind):
    bits = np.arange(2**16, dtype="uint32")
    x = bits.astype("uint16").view("float16").astype("f") if kind == "float16" else \
        (bits << 16).view("f")
    between = np.nextafter(x[np.isfinite(x)], np.float32(0))    # and what must be rounded to it
    for given in (x, between[:2**16 - 2**12]):
        given = given.reshape(16, -1, 1)                        # by kernels, and by products
        t, one = gt.placeholder(given.shape), gt.variable(np.ones((1, 1, 1), "f"))
        f = gt.function([t], [gt.convolution(t, one), t @ one[0]], backend=CUDA, precision=kind)
        want = gt.run(gt.backend.OPS[f"round_to_{kind}"](gt.constant(given)), backend="reference")
        for found in f(given):
            np.testing.assert_array_equal(found, want)
    assert set(f.program._halves.values()) == {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_products_read_two_bytes_and_the_optimizer_writes_them(kind):
    trainer, *_ = trained("dense", CUDA, kind, batch=64)
    program = program_of(trainer)
    assert {c.settings["factors"] for c in products(program)} == {kind}
    assert len(products(program)) == 5
    sizes = {program.values[p.value].nbytes // np.prod(shape, dtype=int)
             for c in products(program) for p, (shape, _) in zip(c.arguments[:2],
                                                                 c.settings["matrices"])}
    assert sizes == {2}
    names = [s.name for s in program.steps if isinstance(s, Launch)]
    # The rows, the hidden numbers and two slopes are rounded; weights by the optimizer alone.
    assert sum("round" in n for n in names) == 5
    assert sum("subtract" in n and "round" in n for n in names) == 1
    assert [s.name for s in program.rounding] == [f"chain_round_to_{kind}"]


@pytest.mark.parametrize("kind, number", [("bfloat16", 14), ("float16", 2)])
def test_cublaslt_is_told_of_two_bytes(install, kind, number):
    """Whole steps through its functions, as `CudaDevice` calls them."""
    fake = install()
    trainer, changes, _ = trained("dense", CudaBackend(CudaDevice()), kind, epochs=4)
    expected = trained("dense", "reference", kind, epochs=4)[1]
    assert distance(changes, expected) < 1e-3 and "graph" in fake.log
    found = {(fake.library.fake_factors(n), fake.library.fake_compute(n)) for n in fake.products}
    assert found == {(number, 68)}                     # sums in float32


def test_a_gpu_without_bfloat16_multiplies_its_numbers_in_float32(install):
    fake = install()
    fake.modules["cupy"].cuda.Device.compute_capability = "75"
    trainer, changes, _ = trained("dense", CudaBackend(CudaDevice()), "bfloat16")
    assert distance(changes, trained("dense", "reference")[1]) < 1e-3
    plan = next(iter(trainer._functions.values()))[0].plan()
    assert plan.precision == "bfloat16" and plan.notes == (
        "products of bfloat16 numbers are computed in float32: this GPU has no instructions for "
        "them",)
    assert {fake.library.fake_factors(n) for n in fake.products} == {0}


@pytest.mark.parametrize("kind, near", [("bfloat16", 5e-2), ("float16", 1e-2)])
@pytest.mark.parametrize("name", ["images", "odd", "grouped"])
@pytest.mark.parametrize("device", [CudaDevice, lambda: CpuDevice(libraries=True)],
                         ids=["fake", "stand-in"])
def test_convolutions_of_the_library_stay_in_two_bytes(install, device, name, kind, near):
    """Biases, batch norms and activations widen what they read; others get a wide copy."""
    install(cudnn=True)
    trainer, changes, _ = trained(name, CudaBackend(device()), kind)
    assert distance(changes, trained(name, "reference", kind)[1]) < near
    program = program_of(trainer)
    made = [s.arguments[2].value for s in program.steps if s.name in OPERATIONS]
    assert made and {program.values[v].dtype for v in made} == {kind}
    if name == "images":   # a call has a copy of a kernel or its gradient; pooling reads a wide one
        assert len(made) == 4 and sum(s.name == "chain_copy" for s in program.steps) == 5
    assert not program.fall_backs


# ---- rounded weights ---------------------------------------------------------------------------

def test_rounded_weights_follow_their_weights_wherever_these_come_from():
    x, w = gt.placeholder((2, 3)), gt.variable(np.full((3, 2), 1 / 3, "f"))
    rows = np.ones((2, 3), "f")
    step = gt.function([x], (x @ w).sum(), {w: w * 3.0}, backend=CUDA, precision="bfloat16")
    look = gt.function([x], (x @ w).sum(), backend=CUDA, precision="bfloat16")
    rounded = lambda value: 12 * float(SHARED["by_hand"](np.float32(value)))
    value = np.float32(1 / 3)
    for _ in range(5):                                  # alone, and as a recorded graph
        assert look(rows) == pytest.approx(rounded(value), rel=1e-6)
        assert step(rows) == pytest.approx(rounded(value), rel=1e-6)
        value = np.float32(value * np.float32(3))
        assert w.numpy()[0, 0] == value                 # and is itself not rounded
    w.assign(np.full((3, 2), 0.7, "f"))
    assert step(rows) == pytest.approx(rounded(0.7), rel=1e-6)
    assert look(rows) == pytest.approx(rounded(np.float32(0.7) * np.float32(3)), rel=1e-6)


def test_a_weight_that_does_not_learn_is_rounded_once():
    x, w = gt.placeholder((2, 3)), gt.variable(np.full((3, 2), 1 / 3, "f"))
    total = gt.variable(np.float32(0))
    step = gt.function([x], total + 0.0, {total: total + (x @ w).sum()}, backend=CUDA,
                       precision="float16")
    assert [s.name for s in step.program.steps if "round" in s.name] == ["chain_round_to_float16"]
    for i in range(4):
        assert step(np.ones((2, 3), "f")) == pytest.approx(i * 4, rel=1e-3)


def test_what_is_fed_in_the_place_of_a_weight_is_rounded():
    x, w = gt.placeholder((2, 3)), gt.variable(np.zeros((3, 2), "f"))
    f = gt.function([x, w], x @ w, backend=CUDA, precision="bfloat16")
    given = drawn(3, 2)
    np.testing.assert_allclose(f(np.ones((2, 3), "f"), given),
                               [SHARED["by_hand"](given).sum(axis=0)] * 2, rtol=1e-6)


# ---- fits --------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETS)
def test_steps_are_those_of_the_reference(name, kind):
    trainer, changes, X = trained(name, CUDA, kind)
    reference, expected, _ = trained(name, "reference", kind)
    # Recurrent states, which the reference does not round, are read with ten bits.
    assert distance(changes, expected) < (3e-3 if name == "recurrent" else 1e-3)
    np.testing.assert_allclose(trainer.predict(X), reference.predict(X), rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_with_a_short_last_batch(kind):
    """Two programs take turns with the weights, and a third predicts."""
    X, y = drawn(50, 6), np.arange(50) % 3
    found = {}
    for backend in (CUDA, "reference"):
        net = gt.Sequential([layers.Dense(9, "relu"), layers.Dense(3)])
        trainer = gt.Trainer(net, layers.SparseCategoricalCrossentropy(from_logits=True), "adam",
                             backend=backend, precision=kind)
        trainer.fit(X, y, epochs=3, batch_size=16)
        found[backend] = trainer.predict(X)
    np.testing.assert_allclose(found[CUDA], found["reference"], atol=2e-3)


def test_an_overflow_leaves_out_its_step():
    tests = runpy.run_path(str(BACKEND / "test_float16.py"))
    tests["test_an_overflow_leaves_out_its_step_and_halves_the_scale"](CUDA)


def test_all_slopes_are_looked_at_in_one_pass():
    names = [s.name for s in program_of(trained("dense", CUDA, "float16")[0]).steps]
    assert names.count("finish_totals") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimator_fitted_so_predicts_elsewhere(kind, tmp_path):
    X, y = drawn(80, 6), np.arange(80) % 2
    net = gt.DNNClassifier(hidden_layer_sizes=(8,), solver="mini_batch", batch_size=16, epochs=2,
                           precision=kind, backend=CUDA, random_state=0).fit(X, y)
    net.save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5") as file:
        found = []
        file.visititems(lambda name, item: found.append(item.dtype) if "kernel" in name and
                        isinstance(item, h5py.Dataset) else None)
    assert found and set(found) == {np.dtype("float32")}
    again = gt.load(tmp_path / "net.h5").set_params(backend="reference")
    np.testing.assert_allclose(again.predict_proba(X), net.predict_proba(X), atol=2e-3)
