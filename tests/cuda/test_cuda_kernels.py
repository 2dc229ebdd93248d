"""Kernels at sizes that take more than one block, and what their barriers are for."""
import re
import shutil

import numpy as np
import pytest

import gradatim as gt
from gradatim.backend.cuda import CudaBackend
from gradatim.backend.cuda.cache import KERNELS
from gradatim.backend.cuda.device import Launch, Pointer, Source

if not (shutil.which("g++") or shutil.which("c++")):
    pytest.skip("the stand-in for a GPU needs a C++ compiler", allow_module_level=True)

from gradatim.backend.cuda.cpu_device import CpuDevice  # noqa: E402

DEVICE = CpuDevice()
CUDA = CudaBackend(DEVICE)
SCHEDULES = (0, 1, 12345)


def normal(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def compare(build, *arrays, tolerance=2e-6):
    """The steps' names; every order of threads gives the same bits, and the reference's numbers."""
    inputs = [gt.placeholder(a.shape, a.dtype.name) for a in arrays]
    outputs = build(*inputs)
    ours, meant = (gt.function(inputs, outputs, backend=b) for b in (CUDA, "reference"))
    assert ours.plan().fall_backs == ()
    found = []
    try:
        for DEVICE.schedule in SCHEDULES:
            found.append(ours(*arrays))
    finally:
        DEVICE.schedule = 0
    for first, *others, wanted in zip(*found, meant(*arrays)):
        for other in others:
            np.testing.assert_array_equal(first, other)
        if first.dtype.kind != "f":
            np.testing.assert_array_equal(first, wanted)
        else:
            size = np.linalg.norm(wanted)
            assert np.linalg.norm(first - wanted) <= tolerance * max(size, 1e-30)
    return [step.name for step in ours.program.steps]


# ---- reductions and rows -----------------------------------------------------------------------

@pytest.mark.parametrize("shape, axis", [((9, 700), 1), ((700, 9), 0), ((40000,), 0),
                                         ((3, 5000, 4), 1), ((4, 6, 5), (0, 2))])
def test_reductions(shape, axis):
    compare(lambda x: [gt.sum(x, axis=axis), gt.mean(x, axis=axis), gt.var(x, axis=axis),
                       gt.max(x, axis=axis), gt.min(x, axis=axis)], normal(*shape), tolerance=1e-5)


def test_long_columns_are_cut_into_parts():
    steps = compare(lambda x: [gt.max(x)], normal(40000))
    assert steps == ["reduce_max", "reduce_max"]


@pytest.mark.parametrize("shape, axis", [((5, 1000), 1), ((300, 6), 0), ((2, 70, 40), 1)])
def test_positions_and_cumulative_sums(shape, axis):
    x = np.random.default_rng(0).integers(0, 50, shape).astype("float32")
    compare(lambda x: [gt.argmax(x, axis=axis), gt.argmin(x, axis=axis),
                       gt.cumsum(x, axis=axis), gt.cumsum(x, axis=axis, reverse=True)], x)


def test_a_nan_comes_first():
    x = normal(6, 300)
    x[2, 250] = x[2, 7] = np.nan
    compare(lambda x: [gt.argmax(x, axis=1), gt.argmin(x, axis=1), *gt.top_k(x, k=4)[1:]], x)


@pytest.mark.parametrize("shape", [(3, 1500), (2, 5000), (700, 5), (1, 1)])
def test_rows(shape):
    x, g = normal(*shape), normal(*shape, seed=1)
    compare(lambda x, g: [gt.softmax(x), gt.log_softmax(x), gt.logsumexp(x, axis=-1),
                          gt.layer_norm(x), gt.layer_norm_gradient(g, x)], x, g, tolerance=1e-5)


def test_rows_that_are_masked_altogether():
    x = np.full((3, 40), -np.inf, "f")
    x[1] = 1.0
    compare(lambda x: [gt.softmax(x), gt.logsumexp(x, axis=1)], x[1:2])
    f = gt.function([t := gt.placeholder((3, 40))], [gt.softmax(t), gt.logsumexp(t, axis=1)],
                    backend=CUDA)
    weights, total = f(x)
    assert not weights[0].any() and total[0] == -np.inf


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
@pytest.mark.parametrize("rows, classes", [(7, 1200), (300, 10), (2, 5000)])
def test_cross_entropy(rows, classes, dtype, smoothing):
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, classes, rows).astype(dtype) if dtype != "float32" else \
        rng.dirichlet(np.ones(classes), rows).astype("f")
    compare(lambda x, t, g: [
        gt.softmax_cross_entropy(x, t, label_smoothing=smoothing),
        gt.softmax_cross_entropy_gradient(g, x, t, label_smoothing=smoothing)],
        normal(rows, classes), labels, normal(rows), tolerance=1e-5)


# ---- positions ---------------------------------------------------------------------------------

@pytest.mark.parametrize("rows, width, count", [(50, 3, 3000), (3000, 40, 300), (2, 1, 5000),
                                                (7, 33, 20)])
def test_rows_are_added_up_in_order(rows, width, count):
    indices = np.random.default_rng(0).integers(-rows, rows, count)
    compare(lambda i, v, like: [gt.scatter_add(i, v, like), gt.gather(like, i)],
            indices, normal(count, width), normal(rows, width))


@pytest.mark.parametrize("index", [-5, 4])
def test_a_position_outside_the_axis_raises(index):
    x, i = gt.placeholder((4, 2)), gt.placeholder((300,), "int64")
    v = gt.placeholder((300, 2))
    given = np.zeros((4, 2)), np.full(300, index), np.zeros((300, 2))
    for build in (lambda: gt.gather(x, i), lambda: gt.scatter_add(i, v, x),
                  lambda: gt.put_along(i[:, None], v[:, :1], gt.transpose(x)[:1].reshape(4, 1),
                                       axis=0)):
        f = gt.function([x, i, v], build(), backend=CUDA)
        for _ in range(2):
            with pytest.raises(IndexError, match="out of range for an axis of 4"):
                f(*given)
        f(given[0], np.zeros(300, int), given[2])        # and is all right again


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_losses_of_odd_logits(odd):
    x, t = normal(5, 6), np.array([0, 1, 2, 3, 4])
    x[1, 1] = x[2, 0] = odd
    x[3] = odd
    inputs = [gt.placeholder((5, 6)), gt.placeholder((5,), "int64")]
    outputs = [gt.softmax_cross_entropy(*inputs)]
    with np.errstate(all="ignore"):
        got, wanted = (gt.function(inputs, outputs, backend=b)(x, t)[0]
                       for b in (CUDA, "reference"))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_a_label_out_of_range_raises():
    x, y = gt.placeholder((2, 3)), gt.placeholder((2,), "int64")
    f = gt.function([x, y], gt.softmax_cross_entropy(x, y), backend=CUDA)
    with pytest.raises(IndexError, match="number of classes, 3"):
        f(np.zeros((2, 3)), np.array([0, 3]))


# ---- windows -----------------------------------------------------------------------------------

CONVOLUTIONS = [((3, 9, 9, 5), (3, 3, 5, 70), {"padding": "same"}),
                ((2, 20, 20, 3), (5, 5, 3, 33), {"strides": 2}),
                ((4, 17, 6), (3, 3, 130), {"padding": "causal", "dilation": 2, "groups": 2}),
                ((2, 8, 8, 33), (3, 3, 1, 66), {"padding": "same", "groups": 33}),
                ((2, 5, 6, 4, 8), (2, 2, 2, 8, 5), {"strides": (1, 2, 1)})]


@pytest.mark.parametrize("x, kernel, settings", CONVOLUTIONS, ids=range(len(CONVOLUTIONS)))
def test_convolution(x, kernel, settings):
    def build(x, kernel, bias):
        y = gt.relu(gt.convolution(x, kernel, **settings) + bias)
        return [y, *gt.gradients((y * y).sum(), [x, kernel, bias])]
    compare(build, normal(*x), normal(*kernel, seed=1), normal(kernel[-1], seed=2),
            tolerance=1e-5)


@pytest.mark.parametrize("shape", [(2, 30, 30, 20), (3, 50, 7)])
@pytest.mark.parametrize("settings", [{"pool_size": 3, "strides": 2, "padding": "same"},
                                      {"pool_size": 2, "relu": True}])
def test_pooling(shape, settings):
    def build(x):
        y, indices = gt.max_pool(x, **settings)
        z = gt.average_pool(x, **{k: v for k, v in settings.items() if k != "relu"})
        return [y, indices, z, *gt.gradients((y * y).sum() + (z * z * z).sum(), [x])]
    compare(build, normal(*shape))


# ---- recurrent nets ----------------------------------------------------------------------------

CELLS = [("lstm", 4, 2, {}), ("gru", 3, 1, {}), ("gru", 3, 1, {"reset_after": False}),
         ("simple_rnn", 1, 1, {}), ("simple_rnn", 1, 1, {"activation": "relu"})]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name, gates, states, settings", CELLS)
def test_whole_sequences_and_their_gradients(name, gates, states, settings, reverse, padded):
    """Odd sizes; padding may hold anything."""
    batch, steps, features, units = 30, 5, 5, 19
    rng = np.random.default_rng(0)
    after = settings.get("reset_after", name == "gru")
    shapes = [(batch, steps, features), (features, gates * units), (units, gates * units),
              (2, gates * units) if after else (gates * units,)]
    arrays = [0.3 * rng.standard_normal(shape).astype("f") for shape in shapes]
    if padded:
        lengths = rng.integers(0, steps + 1, batch).astype("int32" if reverse else "int64")
        arrays[0][np.arange(steps) >= lengths[:, None]] = np.nan
        arrays += [lengths, *(rng.standard_normal((batch, units)).astype("f")
                              for _ in range(states))]

    def build(*inputs):
        results = gt.backend.OPS[name](*inputs, reverse=reverse, **settings)
        weights = [rng.standard_normal(t.shape).astype("f") for t in results[:1 + states]]
        loss = sum((t * w).sum() for t, w in zip(results, weights))
        return [*results, *gt.gradients(loss, [t for t in inputs if t.spec.is_float])]
    compare(build, *arrays, tolerance=1e-5)


# ---- a test of these tests ---------------------------------------------------------------------

TWICE = """
extern "C" __global__ void twice(const float* x, float* out) {
  __shared__ float parts[32];
  float top = planted_reduce<Max>(x[threadIdx.x], parts);
  float total = planted_reduce<Sum>(x[threadIdx.x] - top, parts);
  if (threadIdx.x == blockDim.x - 1) *out = total;
}
EXPORT(twice)
"""


@pytest.mark.parametrize("missing", [None, 0, 1])
def test_a_missing_barrier_shows(missing):
    """Without either barrier of `block_reduce` some order of threads gives another result."""
    text = (KERNELS / "common.cuh").read_text()
    function = re.search(r"template <class How, class T> __device__ T block_reduce.*?\n}\n", text,
                         re.DOTALL).group().replace("block_reduce", "planted_reduce")
    before, *barriers = function.split("__syncthreads();")
    assert len(barriers) == 2
    for i, rest in enumerate(barriers):
        before += ("" if i == missing else "__syncthreads();") + rest
    function = DEVICE.function(Source("twice", '#include "common.cuh"\n' + before + TWICE),
                               "twice")
    x = normal(256, seed=3)
    memory = DEVICE.allocate(4 * 257)
    DEVICE.upload(memory.address, x)
    run = DEVICE.prepare(Launch("twice", function, (1, 1, 1), (256, 1, 1), 0,
                                (Pointer(0), Pointer(1, 0, True))),
                         [memory.address, memory.address + 4 * 256])
    right, out = [], np.zeros((), "f")
    try:
        for DEVICE.schedule in SCHEDULES:
            run()
            DEVICE.download(out, memory.address + 4 * 256)
            right.append(bool(abs(out - (x - x.max()).sum()) <= 1e-3))
    finally:
        DEVICE.schedule = 0
    assert all(right) == (missing is None), right
