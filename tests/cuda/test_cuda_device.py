"""CudaDevice on a CuPy and a cuBLASLt that are none: whole steps, graphs, copies; errors."""
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend import registry
from gradatim.backend.cuda import CudaBackend, cuda_device, libraries, replay
from gradatim.backend.cuda.cpu_calls import view
from gradatim.backend.cuda.cuda_device import CudaDevice
from gradatim.backend.cuda.device import Call, Launch, Pointer
from gradatim.backend.distribute.local import LocalCommunicator
from gradatim.backend.errors import BackendError, MemoryLimitError
from gradatim.backend.tables import Tables
from gradatim.info import info

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

def net(backend, steps):
    """Losses and weights of some steps of a net with dropout."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((24, 5)).astype("f"), rng.integers(0, 3, 24)
    model = gt.Trainer(gt.Sequential([layers.Dense(6, "relu"), layers.Dropout(0.3),
                                      layers.Dense(3)]),
                       layers.SparseCategoricalCrossentropy(from_logits=True), "sgd",
                       backend=backend)
    run = model.fit(X, y, epochs=1, batch_size=24 // steps)
    return run.logs["loss"], {k: v.numpy() for k, v in model.model.variables().items()}


@pytest.mark.parametrize("steps", [2, 6])
def test_training_is_that_of_the_reference(install, steps):
    fake = install()
    loss, weights = net(CudaBackend(CudaDevice()), steps)
    expected_loss, expected = net("reference", steps)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, value in weights.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)
    assert ("graph" in fake.log) == (steps > 2)       # two steps one by one, the others as a graph


def function_of(backend):
    w = gt.variable(np.float32([[1, 2], [3, 4]]), name="w")
    x = gt.placeholder((3, 2))
    return w, gt.function([x], (x @ w).sum(), {w: w * 0.5}, backend=backend)


def test_the_third_run_is_a_graph_of_all_the_others_queue(install):
    fake = install()
    w, step = function_of(CudaBackend(CudaDevice()))
    ones, sums, queued = np.ones((3, 2), "f"), [], []
    for _ in range(5):
        fake.log.clear()
        sums.append(float(step(ones)))
        queued.append([n for n in fake.log if n not in ("upload", "download")])
    assert sums == [30.0, 15.0, 7.5, 3.75, 1.875]
    assert queued[0] == queued[1] and "matmul" in queued[0] and len(queued[0]) > 2
    assert queued[2:] == [["graph"]] * 3


class Twice(LocalCommunicator):
    """Another replica that always holds what this one holds; on the host, or in the stream."""
    rank, size = 0, 2

    def __init__(self, fake, queued):
        self.fake, self.queued = fake, queued

    def all_reduce(self, x, operation="sum", out=None):
        self.fake.log.append("meeting")
        return x + x

    def queues(self, node):
        return self.queued

    def queue(self, node, source, target, stream):
        def add():
            n = node.specs[0].size
            view(target, (n,), "float32")[...] = 2 * view(source, (n,), "float32")
        assert stream.ptr == self.fake.AHEAD
        self.fake.beside("all_reduce", add)


@pytest.mark.parametrize("queued, want", [
    (True, ["graph"]), (False, ["graph", "meeting", "graph"])])
def test_graphs_end_where_replicas_meet_on_the_host_only(install, queued, want):
    fake = install()
    w, x = gt.variable(np.float32([1, 2])), gt.placeholder((3, 2))
    total = gt.all_reduce((x * w).sum(axis=0))
    program = CudaBackend(CudaDevice()).compile(gt.Graph([total], {w: w + total * 0.5}), "",
                                                Twice(fake, queued))
    state, sums = [w.numpy()], []
    for _ in range(4):
        fake.log.clear()
        sums.append(program.run(state, [np.ones((3, 2), "f")])[0].tolist())
    assert sums == [[6, 12], [24, 48], [96, 192], [384, 768]]
    assert [n for n in fake.log if n not in ("upload", "download")] == want


def test_what_cannot_be_captured_is_queued_one_by_one(install):
    fake = install()
    fake.cannot_capture = True
    w, step = function_of(CudaBackend(CudaDevice()))
    assert [float(step(np.ones((3, 2), "f"))) for _ in range(4)] == [30.0, 15.0, 7.5, 3.75]
    assert "graph" not in fake.log


def test_an_error_while_capturing_ends_the_capture(install):
    fake = install()
    device = CudaDevice()
    with pytest.raises(ZeroDivisionError):
        device.record(lambda: 1 / 0)
    assert fake.capturing is None


def test_several_steps_are_fed_at_once(install):
    fake = install()
    total, x = gt.variable(0.0), gt.placeholder((2,))
    f = gt.function([x], [total + 0.0, x * 2.0], {total: total + x.sum()},
                    backend=CudaBackend(CudaDevice()))
    rows = np.array([[0, 1], [3, 2], [1, 1], [0, 3]])
    table = np.float32([1, 2, 3, 4])
    fake.log.clear()
    before, doubled = f.steps([table], rows)
    np.testing.assert_array_equal(before, [0, 3, 10, 14])
    np.testing.assert_array_equal(doubled, 2 * table[rows])
    assert float(total.numpy()) == 19.0
    assert fake.log.count("graph") == 2 and fake.log.count("download") == 2   # outputs; the total


def test_many_steps_are_few_graphs(install, monkeypatch):
    fake = install()
    monkeypatch.setattr(replay, "TOGETHER", 5)
    total, x = gt.variable(0.0), gt.placeholder((2,))
    f = gt.function([x], [total + 0.0], {total: total + x.sum()}, backend=CudaBackend(CudaDevice()))
    rows, table = np.random.default_rng(0).integers(0, 9, (22, 2)), np.arange(9, dtype="f")
    for _ in range(2):                            # at last 4 x 5 + 2
        fake.log.clear()
        before = float(total.numpy())
        sums, = f.steps(Tables([table]), rows)
        added = table[rows].sum(1)
        np.testing.assert_array_equal(sums, before + np.cumsum(added) - added)
    assert {*fake.log} <= {"upload", "download", "copy", "graph"} and fake.log.count("graph") == 6


PRODUCTS = {
    "plain": ((4, 3), (3, 5), {}),
    "x turned": ((3, 4), (3, 5), {"transpose_x": True}),
    "y turned": ((4, 3), (5, 3), {"transpose_y": True}),
    "both turned": ((3, 4), (5, 3), {"transpose_x": True, "transpose_y": True}),
    "one column": ((4, 3), (3, 1), {}),
    "one row": ((1, 3), (3, 5), {}),
    "inner one": ((4, 1), (1, 5), {}),
    "batches": ((2, 6, 4, 3), (2, 6, 3, 5), {}),
    "a matrix for all": ((6, 4, 3), (3, 5), {}),
    "turned for all": ((6, 3, 4), (3, 5), {"transpose_x": True}),
    "two strides": ((2, 1, 4, 3), (1, 6, 3, 5), {}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(install, name, dtype):
    fake = install()
    shape_x, shape_y, settings = PRODUCTS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(dtype) for s in (shape_x, shape_y)]
    x, y = (gt.placeholder(a.shape, dtype) for a in arrays)
    product = gt.matmul(x, y, **settings)
    backend = CudaBackend(CudaDevice())
    got = gt.function([x, y], product, backend=backend)(*arrays)
    want = gt.function([x, y], product, backend="reference")(*arrays)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert {fake.library.fake_compute(n) for n in fake.products} == \
        {68 if dtype == "float32" else 70}
    assert {fake.library.fake_workspace(n) for n in fake.products} == {32 * 2 ** 20}


@pytest.mark.parametrize("relu", [False, True])
def test_bias_and_activation_are_the_products_own(install, relu):
    fake = install()
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype("f") for s in ((4, 3), (3, 5), (5,)))
    total = gt.constant(x) @ gt.variable(w) + gt.variable(b)
    total = gt.relu(total) if relu else total
    got = gt.run(total, backend=CudaBackend(CudaDevice()))
    np.testing.assert_allclose(got, np.maximum(x @ w + b, 0) if relu else x @ w + b, rtol=1e-5,
                               atol=1e-6)
    assert [n for n in fake.log if n not in ("upload", "download")] == ["matmul"]


def test_large_arrays_and_many_small_ones(install, monkeypatch):
    install()
    device = CudaDevice()
    monkeypatch.setattr(cuda_device, "STAGED_BYTES", 64)
    memory = device.allocate(4096)
    for array in (np.arange(512.0), np.float32(3), np.empty(0), np.array([True, False]),
                  *(np.arange(n, dtype="i4") for n in range(1, 20))):
        array = np.asarray(array)
        device.upload(memory.address, array)
        back = np.empty_like(array)
        device.download(back, memory.address)
        np.testing.assert_array_equal(array, back)
    assert len(device._stages) <= cuda_device.STAGES


def test_copies_made_ahead_come_when_they_are_waited_for(install):
    fake = install()
    device = CudaDevice()
    memory, array, found = device.allocate(8), np.ones(2, "f"), np.empty(2, "f")
    device.upload(memory.address, np.zeros(2, "f"))
    device.upload(memory.address, array, ahead=True)
    array[:] = 7                                    # it was copied already
    device.download(found, memory.address)
    assert list(found) == [0, 0] and len(fake.ahead) == 1
    device.join()
    device.download(found, memory.address)
    assert list(found) == [1, 1] and not fake.ahead


def test_staging_waits_when_all_of_it_is_in_use(install):
    install()
    device = CudaDevice()
    waited = []
    device._cuda.Event = lambda: type("Event", (), {
        "done": False, "record": lambda self, stream: None,
        "synchronize": lambda self: waited.append(1)})()
    memory = device.allocate(64)
    for _ in range(cuda_device.STAGES + 2):
        device.upload(memory.address, np.zeros(4))
    assert len(waited) == 2


def test_much_shared_memory_is_asked_for(install):
    fake = install()
    device = CudaDevice()
    source = cuda_device.Source("idle", '#include "common.cuh"\nextern "C" __global__ void idle'
                                '(int* p) { *p = 3; }\nEXPORT(idle)')
    step = Launch("idle", device.function(source, "idle"), (1, 1, 1), (1, 1, 1), 100_000,
                  (Pointer(0, 4, True),))
    memory = device.allocate(8)
    device.prepare(step, [memory.address])()
    found = np.empty(2, "i4")
    device.download(found, memory.address)
    assert found[1] == 3 and fake.attributes == [(1, 8, 100_000)]


def test_copy_calls(install):
    install()
    device = CudaDevice()
    memory = device.allocate(16)
    device.upload(memory.address, np.arange(2.0) + 1)
    call = Call("copy", (Pointer(0, 8, True), Pointer(0)), {"nbytes": 8})
    device.prepare(call, [memory.address])()
    found = np.empty(2)
    device.download(found, memory.address)
    assert list(found) == [1.0, 1.0]


def test_ops_without_a_program(install):
    install()
    backend = CudaBackend(CudaDevice())
    with gt.eager(backend):
        assert list((gt.constant([1.0, 2.0]) * 3.0).numpy()) == [3.0, 6.0]
        values, at = gt.top_k(gt.constant([[1.0, 3.0, 2.0]]), k=2)
        assert values.numpy().tolist() == [[3.0, 2.0]]


def test_no_memory_left(install):
    install(free=2 ** 26)
    device = CudaDevice()
    with pytest.raises(MemoryLimitError) as caught:
        device.allocate(2 ** 27)
    assert str(caught.value) == (
        "cuda:0 has no 134,217,728 bytes left\n  got  67,109,864 free\n"
        "  fix  take a smaller batch_size, or end other processes on the GPU")


@pytest.fixture
def asked_anew(monkeypatch):
    """This process before any backend was asked for."""
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(registry, "_missing", {})
    monkeypatch.delitem(sys.modules, "gradatim.backend.cuda.here", raising=False)
    yield
    sys.modules.pop("gradatim.backend.cuda.here", None)


def test_auto_takes_a_gpu_that_answers(install, asked_anew):
    fake = install(gpus=2)
    backend = gt.get_backend("auto")
    assert backend.name == "cuda" and backend.devices() == ["cuda:0", "cuda:1"]
    assert "graph" in fake.log                       # it has trained a small net
    assert 'cuda: cuda:0, cuda:1 (backend="auto" takes it)' in info()


def test_auto_goes_on_where_a_gpu_fails(install, asked_anew):
    fake = install()

    def broken(*arguments):
        raise fake.modules["cupy"].cuda.runtime.CUDARuntimeError(700, "an illegal address")

    fake.modules["cupy"].cuda.driver.launchKernel = broken
    assert gt.get_backend("auto").name in ("native", "reference")
    assert "cuda: not here, the GPU failed at a small net; CUDARuntimeError: an illegal address; " \
        'update the driver, or use backend="native"' in info()


CURE = 'pip install "gradatim[cuda13]", or "gradatim[cuda12]" for a driver older than 580'
MISSING = {
    "no driver": (dict(status=35, driver=0), "there is no driver for a GPU of NVIDIA\n"
                  '  fix  install it, or compute on the CPU with backend="auto"'),
    "old driver": (dict(status=35, driver=12040),
                   "the driver of the GPU knows CUDA 12.4, and CuPy needs 13.2\n"
                   '  fix  update the driver, or pip install "gradatim[cuda12]"'),
    "hidden": (dict(status=100), "the driver finds no GPU\n"
               "  fix  see whether CUDA_VISIBLE_DEVICES hides it"),
    "none": (dict(gpus=0), "the driver finds no GPU\n"
             "  fix  see whether CUDA_VISIBLE_DEVICES hides it"),
    "broken": (dict(status=999), "the GPU cannot be used\n  why  cudaError\n"
               "  fix  see whether nvidia-smi works; start the machine anew"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named_with_its_cure(install, name):
    options, text = MISSING[name]
    install(**options)
    with pytest.raises(BackendError) as caught:
        CudaDevice()
    assert str(caught.value) == text


def test_no_such_number(install):
    install(gpus=2)
    with pytest.raises(BackendError) as caught:
        CudaDevice(2)
    assert str(caught.value) == (
        'there is no device "cuda:2"\n  found  2 GPUs\n'
        '  fix    use "cuda:0", or see whether CUDA_VISIBLE_DEVICES hides it')


@pytest.mark.parametrize("broken, text", [
    (False, f"CuPy, which carries arrays to a GPU, is not installed\n  fix  {CURE}"),
    (True, "CuPy, which carries arrays to a GPU, cannot be imported\n  why  libx.so: none\n"
           f"  fix  {CURE}")])
def test_no_cupy(monkeypatch, tmp_path, broken, text):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    if broken:
        (tmp_path / "cupy.py").write_text('raise ImportError("libx.so: none")')
        monkeypatch.syspath_prepend(tmp_path)
    else:
        monkeypatch.setattr(sys, "path", [p for p in sys.path if not (Path(p) / "cupy").exists()])
    with pytest.raises(BackendError) as caught:
        CudaDevice()
    assert str(caught.value) == text


def without_cublaslt(fake, monkeypatch):
    monkeypatch.setitem(libraries.LIBRARIES, "cublasLt", libraries.LIBRARIES[
        "cublasLt"]._replace(wheels=(), system=("libnone.so.1",)))
    libraries.open_library.cache_clear()
    return ("products by CuPy, outside of graphs: cublasLt, which multiplies matrices for a GPU, "
            "is not installed",)


@pytest.mark.parametrize("missing", [
    without_cublaslt, lambda fake, _: fake.library.fake_refuse(1),
    lambda fake, _: fake.library.fake_refuse(2)],
    ids=["no library", "no algorithm", "not supported"])
def test_what_cublaslt_does_not_multiply_cupy_does_between_graphs(install, monkeypatch, missing):
    fake = install()
    notes = missing(fake, monkeypatch)
    try:
        w, step = function_of(CudaBackend(CudaDevice(), tf32=True))
        sums = [float(step(np.ones((3, 2), "f"))) for _ in range(3)]
        fake.log.clear()
        sums.append(float(step(np.ones((3, 2), "f"))))
    finally:
        fake.library.fake_refuse(0)
    assert sums == [30.0, 15.0, 7.5, 3.75] and not fake.products
    assert [n for n in fake.log if n not in ("upload", "download")] == ["graph"]
    assert step.plan().notes == (notes or ())
