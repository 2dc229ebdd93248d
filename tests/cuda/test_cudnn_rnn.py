"""cuDNN's recurrent layers through the binding, on a library that is none."""
import ctypes
import shutil

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.cuda import CudaBackend
from gradatim.backend.cuda.cuda_device import CudaDevice

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

# The op, how many gates it has, its settings.
CELLS = {"lstm": (gt.lstm, 4, {}), "gru": (gt.gru, 3, {"reset_after": True}),
         "tanh": (gt.simple_rnn, 1, {"activation": "tanh"}),
         "relu": (gt.simple_rnn, 1, {"activation": "relu"})}
BATCH, STEPS, FEATURES, UNITS = 3, 5, 4, 6


def layer(name, reverse=False, states=True, dtype="float32", lengths=None, outputs=None, **other):
    """Placeholders and arrays, and the outputs with the gradients of a sum that weighs them."""
    op, gates, settings = CELLS[name]
    rng = np.random.default_rng(0)
    width = gates * UNITS
    arrays = [0.5 * rng.standard_normal(s).astype(dtype) for s in (
        (BATCH, STEPS, FEATURES), (FEATURES, width), (UNITS, width),
        (2, width) if name == "gru" and settings["reset_after"] and other.get(
            "reset_after", True) else (width,))]
    if states:
        arrays += [rng.standard_normal((BATCH, UNITS)).astype(dtype)] * (2 if gates == 4 else 1)
    given = [gt.placeholder(a.shape, dtype, batch=False) for a in arrays]
    ends = [] if not states and lengths is None else [
        gt.full_lengths(given[0]) if lengths is None else gt.constant(lengths)]
    found = op(*given[:4], *ends, *given[4:], reverse=reverse, **settings | other)
    meant = found[:outputs or (3 if gates == 4 else 2)]
    weighed = sum((t * gt.constant(rng.standard_normal(t.shape).astype(dtype))).sum()
                  for t in meant)
    return arrays, given, [*meant, *gt.gradients(weighed, given)]


def both(backend, arrays, given, outputs, **options):
    f = gt.function(given, outputs, backend=backend, **options)
    return f(*arrays), gt.function(given, outputs, backend="reference")(*arrays), f


def same(ours, meant, tolerance=1e-5):
    for a, b in zip(ours, meant):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(np.abs(b).max(), 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_layer_and_its_gradients(install, name, reverse, states, dtype):
    fake = install(cudnn=True)
    ours, meant, f = both(CudaBackend(CudaDevice()), *layer(name, reverse, states, dtype))
    same(ours, meant)
    used = [s.name for s in f.program.steps if s.name.startswith("rnn")]
    assert used == ["rnn_forward", "rnn_gradient"] and f.plan().fall_backs == ()
    assert not [s for s in f.program.steps if "_step" in s.name]
    seen = [fake.layer(n) for n in fake.layers]
    assert {(s["cell"], s["tf32"]) for _, s, *_ in seen} == {(name, False)}
    # Not what needs a compiler that is not there, and in float64 not what has only float32.
    assert {a for *_, a, _ in seen} <= ({0, 1, 3} if dtype == "float32" else {0, 3})


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["lstm", "gru", "tanh"])
def test_rows_that_end_early_are_run_to_the_last_step(install, name, reverse, states):
    install(cudnn=True)
    arrays, given, outputs = layer(name, reverse, states, lengths=np.array([2, 0, 5]), outputs=2)
    arrays[0][0, 2:] = np.nan                            # padding may hold anything
    ours, meant, f = both(CudaBackend(CudaDevice()), arrays, given, outputs)
    same(ours, meant)
    assert not np.isnan(ours[2]).any() and not ours[2][0, 2:].any()
    used = [s.name for s in f.program.steps if s.name.startswith("rnn")]
    assert used == ["rnn_forward", "rnn_gradient"] and f.plan().fall_backs == ()
    for _ in range(3):                                   # of the lengths nothing is in the graph
        ours = f(*arrays)
    same(ours, meant)


def test_lengths_are_read_anew_by_a_recorded_graph(install):
    fake = install(cudnn=True)
    arrays, (x, *weights), _ = layer("gru", states=False)
    lengths = gt.placeholder((BATCH,), "int64", batch=False)
    outputs = gt.gru(x, *weights, lengths, reset_after=True, reverse=True)[:2]
    f, g = (gt.function([x, *weights, lengths], outputs, backend=b)
            for b in (CudaBackend(CudaDevice()), "reference"))
    for ends in ([5, 5, 5], [1, 2, 3], [4, 4, 1], [5, 1, 2]):
        fake.log.clear()
        same(f(*arrays, np.array(ends)), g(*arrays, np.array(ends)))
    assert [n for n in fake.log if n not in ("upload", "download")] == ["graph"]


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_rounded_kernels_are_multiplied_on_tensor_cores(install, kind):
    """By the library, and by the products of kernels of our own."""
    fake = install(cudnn=True)
    arrays, given, outputs = layer("lstm", outputs=2)
    ours, meant, _ = both(CudaBackend(CudaDevice()), arrays, given, outputs, precision=kind)
    same(ours, meant, 3e-2)
    assert {s["tf32"] for _, s, *_ in map(fake.layer, fake.layers)} == {True}
    fake = install()
    ours, meant, _ = both(CudaBackend(CudaDevice()), arrays, given, outputs, precision=kind)
    same(ours, meant, 3e-2)
    assert {fake.library.fake_compute(n) for n in fake.products} == {77}


@pytest.mark.parametrize("name", CELLS)
def test_without_gradients_nothing_is_kept_for_them(install, name):
    fake = install(cudnn=True)
    arrays, given, outputs = layer(name)
    ours, meant, _ = both(CudaBackend(CudaDevice()), arrays, given, outputs[:2])
    same(ours, meant)
    assert {(which, s["training"]) for which, s, *_ in map(fake.layer, fake.layers)} == {(0, False)}


def test_tf32_is_the_backends(install):
    fake = install(cudnn=True)
    ours, meant, _ = both(CudaBackend(CudaDevice(), tf32=True), *layer("lstm"))
    same(ours, meant, 1e-2)
    assert {s["tf32"] for _, s, *_ in map(fake.layer, fake.layers)} == {True}


def test_a_trained_layer_is_part_of_the_graph(install):
    fake = install(cudnn=True)
    arrays, given, outputs = layer("lstm", states=False)
    f = gt.function(given, outputs, backend=CudaBackend(CudaDevice()))
    for _ in range(3):
        fake.log.clear()
        found = f(*arrays)
    assert [n for n in fake.log if n not in ("upload", "download")] == ["graph"]
    same(found, gt.function(given, outputs, backend="reference")(*arrays))


def test_an_algorithm_that_fails_when_it_is_tried_is_not_used(install, monkeypatch):
    fake = install(cudnn=True)
    monkeypatch.setattr(fake.cudnn, "cudnnRNNForward", lambda *arguments: 2000)
    ours, meant, f = both(CudaBackend(CudaDevice()), *layer("lstm"))
    same(ours, meant)
    assert "rnn_forward" not in [s.name for s in f.program.steps]


@pytest.mark.parametrize("ignored", [None, "fake_cudnn_hook", "fake_rnn_hook"])
def test_a_library_must_train_a_small_net_before_it_is_used(install, ignored):
    fake = install(cudnn=True, proof=True)
    hook = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda number: 0)
    if ignored:                                   # what is called is not computed
        getattr(fake.cudnn, ignored)(hook)
    ours, meant, f = both(CudaBackend(CudaDevice()), *layer("lstm"))
    same(ours, meant)
    assert ("rnn_forward" in [s.name for s in f.program.steps]) == (ignored is None)
    assert f.plan().notes == (() if ignored is None else (
        "convolutions and recurrent layers by kernels of our own: cuDNN trains a small net "
        "differently from NumPy",))


OTHERS = {
    "the cells of rows that end early": ("lstm", {"lengths": np.array([5, 2, 3])}),
    "no bound beyond the end": ("relu", {"lengths": np.array([5, 2, 3])}),
    "another product": ("gru", {"reset_after": False}),
    "another activation": ("tanh", {"activation": "sigmoid"}),
    "the gates are read": ("lstm", {"outputs": 4}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_kernels_do_what_the_library_has_not(install, case):
    fake = install(cudnn=True)
    name, options = OTHERS[case]
    ours, meant, f = both(CudaBackend(CudaDevice()), *layer(name, **options))
    same(ours, meant)
    assert not fake.layers and f.plan().fall_backs == ()


def test_kernels_do_all_where_the_library_has_no_algorithm(install, monkeypatch):
    from gradatim.backend.cuda import cudnn_rnn
    monkeypatch.setattr(cudnn_rnn, "ALGORITHMS", {"persistent, compiled": 2})
    fake = install(cudnn=True)
    ours, meant, _ = both(CudaBackend(CudaDevice()), *layer("gru"))
    same(ours, meant)
    assert not fake.layers


@pytest.mark.parametrize("name", CELLS)
def test_the_stand_in_has_such_layers_too(name):
    backend = CudaBackend(CpuDevice(libraries=True))
    ours, meant, f = both(backend, *layer(name, reverse=True))
    same(ours, meant)
    assert "rnn_gradient" in [s.name for s in f.program.steps]
