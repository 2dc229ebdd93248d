"""cuDNN through the binding: on a library that is none, and what the real one says to it."""
import gc
import json
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.cuda import CudaBackend, cache, cudnn, cudnn_convolution, cudnn_rnn, libraries
from gradatim.backend.cuda.cuda_device import CudaDevice
from gradatim.backend.cuda.tune import ROUNDS, RUNS, Tuner
from gradatim.backend.errors import BackendError, MemoryLimitError
from gradatim.backend.installed import installed

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

# ---- convolutions ------------------------------------------------------------------------------

SHAPES = {
    "same": ((2, 7, 6, 8), (3, 3, 8, 5), dict(padding="same")),
    "valid": ((3, 6, 6, 5), (2, 3, 5, 4), {}),
    "one zero at the end": ((1, 8, 8, 6), (3, 3, 6, 6), dict(padding="same", strides=2)),
    "dilated": ((1, 9, 8, 5), (3, 2, 5, 3), dict(dilation=2)),
    "groups": ((2, 5, 5, 8), (3, 3, 4, 6), dict(groups=2)),
    "causal": ((2, 9, 5), (3, 5, 7), dict(padding="causal")),
    "volume": ((1, 4, 5, 4, 5), (2, 2, 2, 5, 3), dict(strides=(1, 2, 1))),
}


def arrays(name, dtype="float32"):
    rng = np.random.default_rng(0)
    x_shape, kernel_shape, settings = SHAPES[name]
    return [rng.standard_normal(s).astype(dtype) for s in (x_shape, kernel_shape)], settings


def with_gradients(backend, given, settings):
    """A convolution and the gradients of the sum of its squares; the program's steps."""
    x, kernel = (gt.placeholder(a.shape, a.dtype.name, batch=False) for a in given)
    y = gt.convolution(x, kernel, **settings)
    f = gt.function([x, kernel], [y, *gt.gradients((y * y).sum(), [x, kernel])], backend=backend)
    return f(*given), [step.name for step in f.program.steps]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_convolution_and_its_gradients(install, name, dtype):
    fake = install(cudnn=True)
    given, settings = arrays(name, dtype)
    got, steps = with_gradients(CudaBackend(CudaDevice()), given, settings)
    want = gt.run(gt.convolution(*map(gt.constant, given), **settings), backend="reference")
    meant, _ = with_gradients(own(), given, settings)
    for a, b in zip(got, meant):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-5)
    assert set(cudnn_convolution.OPERATIONS) <= set(steps)
    configs = {fake.cudnn.fake_cudnn_config(n) for n in fake.executions}
    assert configs == {4}          # the one without tensor cores, which read too few digits


# The library's number of the type, and the distance of a number to the next relative to it.
HALVES = {"bfloat16": (9, 2.0 ** -7), "float16": (2, 2.0 ** -10)}


@pytest.mark.parametrize("kind", HALVES)
def test_factors_in_two_bytes_make_results_in_two_bytes(install, kind):
    number, step = HALVES[kind]
    fake = install(cudnn=True)
    (x, kernel), settings = arrays("one zero at the end")
    t, w = gt.placeholder(x.shape, batch=False), gt.variable(kernel)
    y = gt.convolution(t, w, **settings)
    outputs = [y, *gt.gradients((y * y).sum(), [t, w])]
    found = [gt.function([t], outputs, backend=b, precision=kind)(x)
             for b in (CudaBackend(CudaDevice()), own())]
    for ours, kernels in zip(*found):
        np.testing.assert_allclose(ours, kernels, rtol=step, atol=step * np.abs(kernels).max())
    rounded = gt.run(gt.backend.OPS[f"round_to_{kind}"](gt.constant(found[0][0])),
                     backend="reference")
    np.testing.assert_array_equal(found[0][0], rounded)
    assert {fake.cudnn.fake_cudnn_type(n) for n in fake.executions} == {number}
    assert {fake.cudnn.fake_cudnn_config(n) for n in fake.executions} == {2, 3, 4}


def test_what_is_fed_in_the_place_of_a_convolution_is_not_in_two_bytes(install):
    install(cudnn=True)
    (x, kernel), settings = arrays("same")
    t = gt.placeholder(x.shape, batch=False)
    y = gt.convolution(t, gt.variable(kernel), **settings)
    f = gt.function([y], gt.relu(y), backend=CudaBackend(CudaDevice()), precision="bfloat16")
    given = np.random.default_rng(1).standard_normal(y.shape).astype("f")
    np.testing.assert_array_equal(f(given), np.maximum(given, 0))


def own():
    """The stand-in with kernels alone."""
    from gradatim.backend.cuda.cpu_device import CpuDevice
    return CudaBackend(CpuDevice())


def test_tf32_may_use_tensor_cores_but_no_order_of_chance(install):
    fake = install(cudnn=True)
    given, settings = arrays("same")
    got, _ = with_gradients(CudaBackend(CudaDevice(), tf32=True), given, settings)
    np.testing.assert_allclose(got[0], with_gradients(own(), given, settings)[0][0], rtol=1e-5,
                               atol=1e-5)
    assert {fake.cudnn.fake_cudnn_config(n) for n in fake.executions} == {2, 3, 4}


@pytest.mark.parametrize("relu", [False, True])
def test_bias_and_relu_are_in_the_same_graph(install, relu):
    fake = install(cudnn=True)
    (x, kernel), _ = arrays("same")
    bias = np.linspace(-2, 2, 5, dtype="f")
    total = gt.convolution(gt.constant(x), gt.variable(kernel), padding="same") + gt.variable(bias)
    total = gt.relu(total) if relu else total
    got = gt.run(total, backend=CudaBackend(CudaDevice()))
    np.testing.assert_allclose(got, gt.run(total, backend="reference"), rtol=1e-5, atol=1e-5)
    assert [n for n in fake.log if n in ("cudnn", "chain_add_relu")] == ["cudnn"]
    assert {fake.cudnn.fake_cudnn_operations(n) for n in fake.executions} == {3 if relu else 2}


def test_a_step_is_one_graph_in_the_devices_stream(install):
    fake = install(cudnn=True)
    (given, kernel), settings = arrays("same")
    x, w = gt.placeholder(given.shape, batch=False), gt.variable(kernel)
    loss = gt.convolution(x, w, **settings).sum()
    step = gt.function([x], loss, {w: w - 1e-3 * gt.gradients(loss, [w])[0]},
                       backend=CudaBackend(CudaDevice()))
    for _ in range(3):
        fake.log.clear()
        step(given)
    assert [n for n in fake.log if n not in ("upload", "download")] == ["graph"]
    assert {fake.cudnn.fake_cudnn_stream(n) for n in fake.executions} == {77}


def no_plan_fits(monkeypatch):
    monkeypatch.setattr(cudnn, "LARGEST_WORKSPACE", -1)


def too_old(monkeypatch):
    monkeypatch.setattr(cudnn, "OLDEST", 91003)


@pytest.mark.parametrize("there, spoil", [(False, None), (True, no_plan_fits), (True, too_old)])
def test_kernels_of_our_own_do_what_the_library_does_not(install, monkeypatch, there, spoil):
    fake = install(cudnn=there)
    if spoil:
        spoil(monkeypatch)
    given, settings = arrays("groups")
    got, steps = with_gradients(CudaBackend(CudaDevice()), given, settings)
    for a, b in zip(got, with_gradients(own(), given, settings)[0]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert "cudnn" not in fake.log and "convolution" in fake.log


@pytest.mark.parametrize("kind", HALVES)
def test_kernels_of_our_own_multiply_halves_that_the_library_does_not(install, monkeypatch, kind):
    fake = install(cudnn=True)
    no_plan_fits(monkeypatch)
    (x, kernel), settings = arrays("groups")
    t, w = gt.placeholder(x.shape, batch=False), gt.variable(kernel)
    outputs = gt.gradients((gt.convolution(t, w, **settings) ** 2.0).sum(), [t, w])
    ours, kernels = (gt.function([t], outputs, backend=b, precision=kind)(x)
                     for b in (CudaBackend(CudaDevice()), own()))
    for a, b in zip(ours, kernels):
        np.testing.assert_array_equal(a, b)
    assert "cudnn" not in fake.log and "convolution" in fake.log


def test_that_the_library_is_missing_is_noted(install):
    install()
    given, settings = arrays("same")
    x, kernel = (gt.placeholder(a.shape, batch=False) for a in given)
    f = gt.function([x, kernel], gt.convolution(x, kernel, **settings),
                    backend=CudaBackend(CudaDevice()))
    f(*given)
    assert f.plan().notes == (
        "convolutions and recurrent layers by kernels of our own: cuDNN, which computes "
        "convolutions and recurrent layers for a GPU, is not installed",)


def test_few_channels_and_one_per_group_have_better_kernels(install):
    fake = install(cudnn=True)
    rng = np.random.default_rng(0)
    for channels, groups in ((3, 1), (6, 6)):
        x, kernel = (rng.standard_normal(s).astype("f") for s in
                     ((1, 5, 5, channels), (3, 3, channels // groups, 6)))
        gt.run(gt.convolution(gt.constant(x), gt.constant(kernel), groups=groups),
               backend=CudaBackend(CudaDevice()))
    assert "cudnn" not in fake.log


# ---- what the library complains of -------------------------------------------------------------

def test_another_version_is_refused(install, monkeypatch):
    install(cudnn=True)
    too_old(monkeypatch)
    with pytest.raises(BackendError) as caught:
        cudnn.Cudnn(0)
    assert str(caught.value) == (
        "cuDNN, which computes convolutions and recurrent layers, must be of a version from 9.10 "
        "to 9.99\n  got  91002")


def test_what_the_library_says_is_told(install):
    install(cudnn=True)
    library = cudnn.Cudnn(0)
    with pytest.raises(BackendError) as caught:
        library.made("TENSOR", TENSOR_DIMENSIONS=[1, 2, 3, 4])
    assert str(caught.value) == ("cuDNN: cudnnBackendFinalize failed\n"
                                 "  why  CUDNN_STATUS_BAD_PARAM an attribute is missing")
    with pytest.raises(BackendError, match="cudnnBackendSetAttribute TENSOR_DIMENSIONS failed"):
        library.made("CONVOLUTION", TENSOR_DIMENSIONS=[1])


def test_descriptors_are_freed(install):
    fake = install(cudnn=True)
    library = cudnn.Cudnn(0)
    gc.collect()                                  # those of other tests
    before = fake.cudnn.fake_cudnn_alive()
    axes = gt.backend.ops.sliding.sliding((7, 6), (3, 3), strides=1, padding="same")
    found = library.plans(cudnn_convolution.operations(
        library, "convolution", axes=axes, shape=(2, 8, 5, 1), dtype="float32"), True)
    assert [(p.name, p.workspace) for p in found] == [("A2", 1024), ("A3", 0), ("F0", 512)]
    del found
    assert fake.cudnn.fake_cudnn_alive() == before


# ---- measured choices --------------------------------------------------------------------------

class Trial:
    """A device whose time is told by hand, and ways that take as long as they say."""

    def __init__(self, free=100):
        self.now, self.free, self.runs = 0.0, free, []

    def here(self):
        return nullcontext()

    def allocate(self, nbytes):
        if nbytes > self.free:
            raise MemoryLimitError("no memory")
        return SimpleNamespace(address=nbytes)

    def synchronize(self):
        self.now += 0.5 / RUNS                    # waiting takes time, too

    def way(self, name, seconds):
        def prepare(*addresses):
            def run():
                self.runs.append((name, addresses))
                self.now += seconds
            if seconds is None:
                raise BackendError("not here")
            return run
        return prepare

    def fastest(self, ways, nbytes=(8, 0), gpu="A"):
        return Tuner(self, [gpu, "driver 1"], lambda: self.now).fastest(
            "a product", {name: self.way(name, s) for name, s in ways.items()}, nbytes)


@pytest.fixture
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path))
    return tmp_path / "kernels"


WAYS = {"one": 0.4, "two": 0.1, "three": None, "four": 0.2}


def test_ways_are_timed_once_and_then_read(kept):
    first = Trial()
    assert first.fastest(WAYS) == "two"
    assert {name for name, _ in first.runs} == {"one", "two", "four"}
    assert first.runs.count(("two", (8, 1))) == 1 + ROUNDS * RUNS
    path, = kept.glob("*.json")
    told = json.loads(path.read_text())
    assert told["here"] == ["A", "driver 1"] and told["what"] == "a product"
    assert list(told["seconds"]) == ["one", "two", "four"]
    again = Trial()
    assert again.fastest(WAYS | {"one": 0.01}) == "two" and again.runs == []
    other = Trial()
    assert other.fastest(WAYS | {"one": 0.01}, gpu="B") == "one" and other.runs


def test_one_way_is_not_timed_and_none_is_none(kept):
    trial = Trial()
    assert trial.fastest({"one": 0.4}) == "one" and trial.fastest({}) is None and not trial.runs
    assert trial.fastest({"one": None, "two": None}) is None


def test_without_memory_the_first_is_taken_and_nothing_kept(kept):
    assert Trial(free=4).fastest(WAYS) == "one" and not list(kept.glob("*.json"))


@pytest.mark.parametrize("text", ["", "[]", '{"fastest": "five"}'])
def test_a_file_that_says_nothing_is_written_anew(kept, text):
    Trial().fastest(WAYS)
    path, = kept.glob("*.json")
    path.write_text(text)
    assert Trial().fastest(WAYS) == "two" and json.loads(path.read_text())["fastest"] == "two"


def test_who_was_first_decides_for_all(kept):
    def build():
        cache.cached(".json", ["x"], lambda: b"first")
        return b"second"
    assert cache.cached(".json", ["x"], build).read_bytes() == b"first"


def test_the_fastest_plan_is_the_one_that_runs(install):
    fake = install(cudnn=True)
    axes = gt.backend.ops.sliding.sliding((7, 6), (3, 3), strides=1, padding="same")
    settings = dict(axes=axes, shape=(2, 8, 5, 1), dtype="float32", tf32=True)
    device = CudaDevice()
    for chosen, config in (("F0", 4), ("A3", 3)):
        tuner = SimpleNamespace(fastest=lambda what, ways, nbytes: chosen)
        by = cudnn_convolution.Convolutions(cudnn.Cudnn(77), tuner)
        needs = by.needs("convolution", settings)
        assert needs.workspace == {4: 512, 3: 0}[config]
        memory = [device.allocate(2 * 42 * 8 * 4) for _ in range(4)]
        by.prepare("convolution", [m.address for m in memory], settings)()
        assert fake.cudnn.fake_cudnn_config(fake.executions[-1]) == config


# ---- the real library --------------------------------------------------------------------------

HEADER = libraries.wheel_file(libraries.LIBRARIES["cuDNN"].wheels, "cudnn_graph")
needs_cudnn = pytest.mark.skipif(
    HEADER is None or not installed(*libraries.LIBRARIES["cublasLt"].wheels),
    reason='needs cuDNN and cuBLAS: pip install "gradatim[cuda13]"')


@needs_cudnn
def test_numbers_are_those_of_the_header():
    text = re.sub(r"/\*.*?\*/|CUDNN_DEPRECATED_ENUM", "", "".join(
        (HEADER.parent / f"cudnn_{name}.h").read_text() for name in ("graph", "adv")), flags=re.S)
    meant = {name: int(n) for name, n in re.findall(r"CUDNN_(\w+)\s*=\s*(\d+)\b", text)}
    ours = {**{f"BACKEND_{k}_DESCRIPTOR": n for k, n in cudnn.KINDS.items()},
            **{f"TYPE_{k}": n for k, (n, _) in cudnn.ELEMENTS.items()},
            **{f"ATTR_{k}": n for k, (n, _) in cudnn.ATTRIBUTES.items()},
            "NUMERICAL_NOTE_TENSOR_CORE": cudnn.TENSOR_CORE,
            "NUMERICAL_NOTE_DOWN_CONVERT_INPUTS": cudnn.DOWN_CONVERT_INPUTS,
            "NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION": cudnn.REDUCED_PRECISION_REDUCTION,
            "NUMERICAL_NOTE_NONDETERMINISTIC": cudnn.NONDETERMINISTIC,
            "POINTWISE_RELU_FWD": cudnn_convolution.RELU, "POINTWISE_ADD": cudnn_convolution.ADD,
            "CROSS_CORRELATION": cudnn_convolution.CROSS_CORRELATION,
            "PROPAGATE_NAN": cudnn_convolution.PROPAGATE_NAN,
            **{f"RNN_ALGO_{name}": n for name, n in zip(
                ("STANDARD", "PERSIST_STATIC", "PERSIST_DYNAMIC", "PERSIST_STATIC_SMALL_H"),
                cudnn_rnn.ALGORITHMS.values())},
            **{name: cudnn_rnn.CELLS[cell].mode for name, cell in (
                ("LSTM", "lstm"), ("GRU", "gru"), ("RNN_TANH", "tanh"), ("RNN_RELU", "relu"))},
            "RNN_DOUBLE_BIAS": cudnn_rnn.DOUBLE_BIAS, "UNIDIRECTIONAL": cudnn_rnn.UNIDIRECTIONAL,
            "LINEAR_INPUT": cudnn_rnn.LINEAR_INPUT, "WGRAD_MODE_ADD": cudnn_rnn.ADD,
            "RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED": cudnn_rnn.BATCH_MAJOR,
            "TENSOR_OP_MATH": cudnn_rnn.TENSOR_OPS, "FMA_MATH": cudnn_rnn.FMA,
            "DATA_FLOAT": cudnn.TYPES["float32"], "DATA_BFLOAT16": cudnn.TYPES["bfloat16"],
            "DATA_HALF": cudnn.TYPES["float16"], "DATA_DOUBLE": cudnn.TYPES["float64"]}
    assert ours == {name: meant.get(name) for name in ours}


@needs_cudnn
def test_the_library_makes_plans_for_an_h200():
    script = Path(__file__).with_name("cudnn_plans.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 79 and not [what for what, count in found.items() if not count]
    assert found["lstm"] == len(cudnn_rnn.ALGORITHMS)
